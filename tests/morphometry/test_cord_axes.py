"""The cord's own axes: found on shapes of known turn, place and area."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_cords import drawn, truth_mm2

from gmseg.morphometry import cord_axes

TURNS = [-35, -12, 0, 7, 30]


def plane(pixel_mm) -> cord_axes.Plane:
    return cord_axes.Plane(np.eye(2) * pixel_mm, 0.0, (0, 1))


def found_on(shares, pixel_mm) -> cord_axes.Axes:
    gray = cord_axes.pixels(shares)
    where = plane(pixel_mm)
    return cord_axes.agree([cord_axes.find(gray, None, where)], [gray], where, 5.0)[0]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("pixel_mm", [0.25, 0.5, 0.8])
def test_turn_and_middle_of_a_butterfly(pixel_mm, turn):
    shares = drawn(pixel_mm, turn_deg=turn, middle_mm=(0.9, -1.3))
    found = found_on(shares, pixel_mm)
    assert np.rad2deg(found.angle) == pytest.approx(turn, abs=1.0)
    middle = np.array(found.middle) - (len(shares) - 1) / 2 * pixel_mm
    np.testing.assert_allclose(middle, (0.9, -1.3), atol=0.15)


@pytest.mark.parametrize("pixel_mm", [0.25, 0.4, 0.5, 0.65, 0.8])
def test_the_horns_of_a_perfect_soft_mask_are_right(pixel_mm):
    truth = truth_mm2()
    errors = []
    for turn in (0, 8, -20, 33):
        for middle in ((0, 0), (0.3, 0.2), (0.1, -0.3)):
            shares = drawn(pixel_mm, turn_deg=turn, middle_mm=middle)
            gray = cord_axes.pixels(shares)
            areas = cord_axes.quarters_mm2(gray, plane(pixel_mm), found_on(shares, pixel_mm))
            assert sum(areas.values()) == pytest.approx(sum(truth.values()), rel=0.005)
            errors += [abs(areas[one] / truth[one] - 1) for one in truth]
    assert np.mean(errors) < 0.03
    assert max(errors) < 0.06


@settings(max_examples=15, deadline=None)
@given(
    turn=st.floats(-40, 40),
    middle=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    grow=st.floats(0.7, 1.2),
    pixel_mm=st.sampled_from([0.3, 0.5, 0.8]),
)
def test_horns_add_up_whatever_the_shape(turn, middle, grow, pixel_mm):
    shares = drawn(pixel_mm, turn_deg=turn, middle_mm=middle, grow_left=grow)
    areas = cord_axes.quarters_mm2(
        cord_axes.pixels(shares), plane(pixel_mm), found_on(shares, pixel_mm)
    )
    assert sum(areas.values()) == pytest.approx(float(shares.sum()) * pixel_mm**2, rel=1e-5)
    assert min(areas.values()) >= 0


def test_left_is_the_patients_left_in_every_orientation():
    shares = np.repeat(drawn(0.5, grow_left=0.8)[..., None], 2, axis=2)
    las = nib.Nifti1Image(shares, np.diag([-0.5, 0.5, 5, 1]))
    truth = truth_mm2(grow_left=0.8)
    for codes in ("LAS", "RAS", "LPS", "SAL", "ASR", "PIL"):
        turned = las.as_reoriented(
            nib.orientations.ornt_transform(
                nib.io_orientation(las.affine), nib.orientations.axcodes2ornt(codes)
            )
        )
        where = cord_axes.plane_of(turned.affine)
        axis = codes.index(next(letter for letter in codes if letter in "SI"))
        gray = cord_axes.pixels(np.take(turned.get_fdata(), 0, axis))
        at = cord_axes.agree([cord_axes.find(gray, None, where)], [gray], where, 5.0)[0]
        areas = cord_axes.quarters_mm2(gray, where, at)
        for one, area in truth.items():
            assert areas[one] == pytest.approx(area, rel=0.06), codes


def test_the_image_may_be_turned_and_the_patient_not():
    """A field of view that is turned by 30 degrees says so in its affine: the horns stay."""
    turn = np.deg2rad(30)
    affine = np.diag([-0.4, 0.4, 5, 1.0])
    about = np.eye(4)
    about[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    where = cord_axes.plane_of(about @ affine)
    in_image = np.rad2deg(where.turn)
    assert abs(in_image) == pytest.approx(30)
    shares = drawn(0.4, turn_deg=in_image, grow_left=0.8)
    gray = cord_axes.pixels(shares)
    at = cord_axes.agree([cord_axes.find(gray, None, where)], [gray], where, 5.0)[0]
    assert np.rad2deg(at.angle - where.turn) == pytest.approx(0, abs=1)
    for one, area in truth_mm2(grow_left=0.8).items():
        assert cord_axes.quarters_mm2(gray, where, at)[one] == pytest.approx(area, rel=0.06)


def test_a_shape_without_direction_takes_it_from_its_neighbours():
    turned = cord_axes.pixels(drawn(0.5, turn_deg=12))
    dot = np.zeros((40, 40), np.float32)
    dot[19:21, 19:21] = 1
    grays = [turned, cord_axes.pixels(dot), turned]
    found = [cord_axes.find(gray, None, plane(0.5)) for gray in grays]
    assert np.isnan(found[1].angle)
    agreed = cord_axes.agree(found, grays, plane(0.5), 5.0)
    assert np.rad2deg(agreed[1].angle) == pytest.approx(12, abs=1)


def test_horns_without_a_bridge_are_divided_where_the_others_are():
    whole = drawn(0.25)
    broken = whole.copy()
    middle = len(whole) // 2
    broken[middle - 3 : middle + 3] = 0
    grays = [cord_axes.pixels(whole), cord_axes.pixels(broken), cord_axes.pixels(whole)]
    found = [cord_axes.find(gray, None, plane(0.25)) for gray in grays]
    first, second, _ = cord_axes.agree(found, grays, plane(0.25), 5.0)
    assert second.middle[1] == pytest.approx(first.middle[1], abs=0.15)


def test_an_empty_slice_has_no_axes_and_harms_none():
    grays = [cord_axes.pixels(drawn(0.5)), cord_axes.pixels(np.zeros((40, 40), np.float32))]
    found = [cord_axes.find(gray, None, plane(0.5)) for gray in grays]
    assert found[1] == cord_axes.NOWHERE or np.isnan(found[1].angle)
    agreed = cord_axes.agree(found, grays, plane(0.5), 5.0)
    assert np.isfinite(agreed[0].middle).all()
    assert np.isnan(agreed[1].middle).all()


def test_far_voxels_turn_nothing():
    shares = drawn(0.5, turn_deg=10, field_mm=50)
    shares[4, 90] = 1
    assert np.rad2deg(found_on(shares, 0.5).angle) == pytest.approx(10, abs=1)


@pytest.mark.parametrize("at", [[(3, 3), (90, 90)], [(2, 50), (97, 50), (50, 3)]])
def test_specks_that_are_far_from_each_other_are_no_fault(at):
    shares = np.zeros((100, 100), np.float32)
    shares[tuple(np.transpose(at))] = 0.02
    gray = cord_axes.pixels(shares)
    cord = cord_axes.pixels((shares > 0).astype(np.float32))
    found = cord_axes.find(gray, cord, plane(0.5))
    areas = cord_axes.quarters_mm2(
        gray, plane(0.5), cord_axes.agree([found], [gray], plane(0.5), 5.0)[0]
    )
    assert sum(areas.values()) == pytest.approx(shares.sum() * 0.25)
