"""The cord's own axes, and horns: shapes of known angle, centre and areas."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_cords import drawn, truth_mm2

from gmseg.morphometry.cord_axes import (
    CordAxes,
    InPlaneGrid,
    fit_axes,
    horn_areas_mm2,
    in_plane_grid,
    pixels_above,
    regularise_axes,
)


def square_grid(pixel_mm) -> InPlaneGrid:
    return InPlaneGrid(np.eye(2) * pixel_mm, 0.0, (0, 1))


def axes_of(gms, grid) -> list[CordAxes]:
    return regularise_axes([fit_axes(gm, None, grid) for gm in gms], gms, grid, 5.0)


def reoriented(image, codes):
    target = nib.orientations.axcodes2ornt(codes)
    return image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), target)
    )


@pytest.mark.parametrize("turn_deg", [-35, -12, 0, 7, 30])
@pytest.mark.parametrize("pixel_mm", [0.25, 0.5, 0.8])
def test_angle_and_centre_of_a_butterfly(pixel_mm, turn_deg):
    fractions = drawn(pixel_mm, turn_deg=turn_deg, middle_mm=(0.9, -1.3))
    [axes] = axes_of([pixels_above(fractions)], square_grid(pixel_mm))
    assert np.rad2deg(axes.angle) == pytest.approx(turn_deg, abs=1.0)
    centre_mm = np.array(axes.centre_mm) - (len(fractions) - 1) / 2 * pixel_mm
    np.testing.assert_allclose(centre_mm, (0.9, -1.3), atol=0.15)


@pytest.mark.parametrize("pixel_mm", [0.25, 0.4, 0.5, 0.65, 0.8])
def test_horns_of_an_exact_soft_segmentation(pixel_mm):
    truth, grid = truth_mm2(), square_grid(pixel_mm)
    errors = []
    for turn_deg in (0, 8, -20, 33):
        for middle_mm in ((0, 0), (0.3, 0.2), (0.1, -0.3)):
            gm = pixels_above(drawn(pixel_mm, turn_deg=turn_deg, middle_mm=middle_mm))
            areas = horn_areas_mm2(gm, grid, axes_of([gm], grid)[0])
            assert sum(areas.values()) == pytest.approx(sum(truth.values()), rel=0.005)
            errors += [abs(areas[horn] / truth[horn] - 1) for horn in truth]
    assert np.mean(errors) < 0.03
    assert max(errors) < 0.06


@settings(max_examples=15, deadline=None)
@given(
    turn_deg=st.floats(-40, 40),
    middle_mm=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    grow_left=st.floats(0.7, 1.2),
    pixel_mm=st.sampled_from([0.3, 0.5, 0.8]),
)
def test_horns_add_up_for_any_shape(turn_deg, middle_mm, grow_left, pixel_mm):
    fractions = drawn(pixel_mm, turn_deg=turn_deg, middle_mm=middle_mm, grow_left=grow_left)
    gm, grid = pixels_above(fractions), square_grid(pixel_mm)
    areas = horn_areas_mm2(gm, grid, axes_of([gm], grid)[0])
    assert sum(areas.values()) == pytest.approx(float(fractions.sum()) * pixel_mm**2, rel=1e-5)
    assert min(areas.values()) >= 0


@pytest.mark.parametrize("codes", ["LAS", "RAS", "LPS", "SAL", "ASR", "PIL"])
def test_left_is_the_patients_left_in_every_orientation(codes):
    fractions = np.repeat(drawn(0.5, grow_left=0.8)[..., None], 2, axis=2)
    image = reoriented(nib.Nifti1Image(fractions, np.diag([-0.5, 0.5, 5, 1])), codes)
    grid = in_plane_grid(image.affine)
    slice_axis = next(i for i, code in enumerate(codes) if code in "SI")
    gm = pixels_above(np.take(image.get_fdata(), 0, slice_axis))
    areas = horn_areas_mm2(gm, grid, axes_of([gm], grid)[0])
    for horn, area_mm2 in truth_mm2(grow_left=0.8).items():
        assert areas[horn] == pytest.approx(area_mm2, rel=0.06)


def test_a_rotated_field_of_view_does_not_turn_the_patient():
    turn = np.deg2rad(30)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    grid = in_plane_grid(rotation @ np.diag([-0.4, 0.4, 5, 1.0]))
    patient_deg = np.rad2deg(grid.patient_angle)
    assert abs(patient_deg) == pytest.approx(30)
    gm = pixels_above(drawn(0.4, turn_deg=patient_deg, grow_left=0.8))
    [axes] = axes_of([gm], grid)
    assert np.rad2deg(axes.angle - grid.patient_angle) == pytest.approx(0, abs=1)
    areas = horn_areas_mm2(gm, grid, axes)
    for horn, area_mm2 in truth_mm2(grow_left=0.8).items():
        assert areas[horn] == pytest.approx(area_mm2, rel=0.06)


def test_a_shape_without_direction_takes_that_of_its_neighbours():
    dot = np.zeros((40, 40), np.float32)
    dot[19:21, 19:21] = 1
    turned, round_gm, grid = (
        pixels_above(drawn(0.5, turn_deg=12)),
        pixels_above(dot),
        square_grid(0.5),
    )
    assert np.isnan(fit_axes(round_gm, None, grid).angle)
    axes = axes_of([turned, round_gm, turned], grid)
    assert np.rad2deg(axes[1].angle) == pytest.approx(12, abs=1)


def test_horns_without_a_commissure_are_divided_as_on_the_other_slices():
    whole = drawn(0.25)
    broken = whole.copy()
    middle = len(whole) // 2
    broken[middle - 3 : middle + 3] = 0
    first, second, _ = axes_of(
        [pixels_above(fractions) for fractions in (whole, broken, whole)], square_grid(0.25)
    )
    assert second.centre_mm[1] == pytest.approx(first.centre_mm[1], abs=0.15)


def test_an_empty_slice_has_no_centre():
    empty = np.zeros((40, 40), np.float32)
    first, second = axes_of([pixels_above(drawn(0.5)), pixels_above(empty)], square_grid(0.5))
    assert np.isfinite(first.centre_mm).all()
    assert np.isnan(second.centre_mm).all()


def test_far_voxels_are_ignored():
    fractions = drawn(0.5, turn_deg=10, field_mm=50)
    fractions[4, 90] = 1
    [axes] = axes_of([pixels_above(fractions)], square_grid(0.5))
    assert np.rad2deg(axes.angle) == pytest.approx(10, abs=1)


@pytest.mark.parametrize("pixels", [[(3, 3), (90, 90)], [(2, 50), (97, 50), (50, 3)]])
def test_single_pixels_far_from_each_other(pixels):
    fractions = np.zeros((100, 100), np.float32)
    fractions[tuple(np.transpose(pixels))] = 0.02
    gm, cord, grid = (pixels_above(fractions), pixels_above(np.ceil(fractions)), square_grid(0.5))
    [axes] = regularise_axes([fit_axes(gm, cord, grid)], [gm], grid, 5.0)
    areas = horn_areas_mm2(gm, grid, axes)
    assert sum(areas.values()) == pytest.approx(fractions.sum() * 0.25)
