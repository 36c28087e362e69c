"""Areas, volumes, levels and angles of shapes with known values."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from synthetic_cords import disc, drawn, truth_mm2

import gmseg
from gmseg.errors import InputError
from gmseg.morphometry import areas

PIXEL_MM, SLICE_MM, SLICES = 0.5, 4.0, 6
CORD_MM = 6.0


def image(array, affine=None):
    affine = np.diag([-PIXEL_MM, PIXEL_MM, SLICE_MM, 1.0]) if affine is None else affine
    return nib.Nifti1Image(np.asarray(array), affine)


def stacked(fractions, count=SLICES):
    return np.repeat(fractions[..., None], count, axis=2)


@pytest.fixture(scope="module")
def soft():
    return stacked(drawn(PIXEL_MM, turn_deg=8, grow_left=0.9))


@pytest.fixture(scope="module")
def mask(soft):
    return (soft > 0.5).astype(np.uint8)


@pytest.fixture(scope="module")
def cord():
    return stacked(disc(PIXEL_MM, CORD_MM))


def test_areas_and_horns_of_an_exact_soft_segmentation(mask, soft, cord):
    rows = gmseg.measure_mask(image(mask), soft=image(soft), cord=image(cord))
    truth = truth_mm2(grow_left=0.9)
    overall = rows[-1]
    assert overall["gm_soft_area_mm2"] == pytest.approx(sum(truth.values()), rel=0.002)
    for (side, half), area in truth.items():
        assert overall[f"gm_soft_{side}_{half}_area_mm2"] == pytest.approx(area, rel=0.05)
    left = truth["left", "anterior"] + truth["left", "posterior"]
    assert overall["gm_soft_left_area_mm2"] == pytest.approx(left, rel=0.03)
    assert overall["gm_soft_left_area_mm2"] < overall["gm_soft_right_area_mm2"]
    disc_mm2 = np.pi * CORD_MM**2
    assert overall["cord_area_mm2"] == pytest.approx(disc_mm2, rel=0.002)
    assert overall["wm_soft_area_mm2"] == pytest.approx(disc_mm2 - sum(truth.values()), rel=0.005)
    assert overall["gm_soft_cord_ratio"] == pytest.approx(sum(truth.values()) / disc_mm2, rel=0.005)
    assert overall["gm_soft_volume_mm3"] == pytest.approx(
        sum(truth.values()) * SLICES * SLICE_MM, rel=0.002
    )
    assert overall["turn_deg"] == pytest.approx(8, abs=0.5)
    assert overall["slices"] == SLICES


def test_areas_of_a_mask_are_its_voxels(mask):
    rows = gmseg.measure_mask(image(mask))
    counted = mask[..., 0].sum() * PIXEL_MM**2
    assert len(rows) == SLICES + 1
    for row in rows[:-1]:
        assert row["gm_area_mm2"] == pytest.approx(counted)
        halves = row["gm_anterior_area_mm2"] + row["gm_posterior_area_mm2"]
        assert halves == pytest.approx(counted)
    assert rows[-1]["gm_volume_mm3"] == pytest.approx(counted * SLICES * SLICE_MM)
    assert "cord_area_mm2" not in rows[0]
    assert "gm_soft_area_mm2" not in rows[0]


def test_values_of_slices_without_gm_or_cord_are_nan(mask, cord):
    mask, cord = mask.copy(), cord.copy()
    mask[..., 1], cord[..., 2] = 0, 0
    rows = gmseg.measure_mask(image(mask), cord=image(cord))
    assert rows[1]["gm_area_mm2"] == 0
    assert np.isnan(rows[1]["gm_left_area_mm2"])
    assert rows[1]["cord_area_mm2"] > 100
    assert np.isnan(rows[1]["gm_cord_ratio"])
    assert np.isnan(rows[2]["cord_area_mm2"])
    assert rows[-1]["slices"] == SLICES - 1
    assert rows[-1]["gm_area_mm2"] == pytest.approx(rows[0]["gm_area_mm2"])
    assert rows[-1]["cord_area_mm2"] == pytest.approx(rows[0]["cord_area_mm2"])


def test_an_empty_mask_has_no_volume():
    rows = gmseg.measure_mask(image(np.zeros((30, 30, 3), np.uint8)))
    assert [row["gm_area_mm2"] for row in rows[:-1]] == [0, 0, 0]
    assert rows[-1]["gm_volume_mm3"] == 0
    assert np.isnan(rows[-1]["gm_area_mm2"])


def test_levels(mask, cord):
    levels = np.zeros(mask.shape, np.int16)
    levels[..., :2], levels[..., 2:5] = 5, 4
    levels[levels.shape[0] // 2 :, :2, :] = 9  # elsewhere in the slice, outside the cord
    levels = levels * (cord > 0.5)
    rows = gmseg.measure_mask(image(mask), cord=image(cord), levels=image(levels))
    slices = [row for row in rows if row["region"] == "slice"]
    assert [row["level"] for row in slices][:5] == [5, 5, 4, 4, 4]
    assert np.isnan(slices[5]["level"])
    four, five = [row for row in rows if row["region"] == "level"]
    assert (four["level"], four["slices"], five["level"], five["slices"]) == (4, 3, 5, 2)
    assert four["gm_volume_mm3"] == pytest.approx(sum(r["gm_volume_mm3"] for r in slices[2:5]))


def oblique_gm(shift_mm):
    """Return the GM of a cord that shifts to the front by `shift_mm` per slice."""
    slices = [drawn(PIXEL_MM, middle_mm=(0, shift_mm * (k - 2.5))) for k in range(SLICES)]
    return (np.stack(slices, axis=2) > 0.5).astype(np.uint8)


def test_obliqueness_is_measured_and_corrected_on_request():
    oblique = oblique_gm(2.0)
    angle = np.rad2deg(np.arctan(2.0 / SLICE_MM))
    rows = gmseg.measure_mask(image(oblique))
    assert rows[2]["obliqueness_deg"] == pytest.approx(angle, abs=1)
    plain = rows[2]["gm_area_mm2"]
    assert plain == pytest.approx(oblique[..., 2].sum() * PIXEL_MM**2)
    corrected = gmseg.measure_mask(image(oblique), correct_obliqueness=True)
    cosine = np.cos(np.deg2rad(rows[2]["obliqueness_deg"]))
    assert corrected[2]["gm_area_mm2"] == pytest.approx(plain * cosine)
    assert corrected[2]["gm_left_area_mm2"] == pytest.approx(rows[2]["gm_left_area_mm2"] * cosine)
    assert corrected[-1]["gm_volume_mm3"] == pytest.approx(rows[-1]["gm_volume_mm3"])


def test_tilted_slices_across_the_cord_are_not_oblique(mask):
    tilt = np.deg2rad(25)
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    affine = rotation @ np.diag([-PIXEL_MM, PIXEL_MM, SLICE_MM, 1.0])
    rows = gmseg.measure_mask(image(mask, affine))
    assert rows[2]["obliqueness_deg"] == pytest.approx(0, abs=0.5)
    assert rows[2]["turn_deg"] == pytest.approx(8, abs=1)


def test_orientation_does_not_change_the_numbers(mask, soft, cord):
    images = image(mask), image(soft), image(cord)
    expected = gmseg.measure_mask(images[0], soft=images[1], cord=images[2])[-1]
    for codes in ("RPI", "SAR", "PSL"):
        turned = [
            each.as_reoriented(
                nib.orientations.ornt_transform(
                    nib.io_orientation(each.affine), nib.orientations.axcodes2ornt(codes)
                )
            )
            for each in images
        ]
        values = gmseg.measure_mask(turned[0], soft=turned[1], cord=turned[2])[-1]
        for name, value in expected.items():
            if isinstance(value, float):
                assert values[name] == pytest.approx(value, rel=1e-3, abs=0.02, nan_ok=True), name


def test_rows_make_a_data_frame(mask, cord):
    table = pd.DataFrame(gmseg.measure_mask(image(mask), cord=image(cord)))
    assert set(table) <= set(areas.COLUMNS)
    slices = table[table.region == "slice"]
    assert slices.gm_area_mm2.dtype == float
    np.testing.assert_allclose(slices.gm_area_mm2.mean(), table.gm_area_mm2.iloc[-1])


@pytest.mark.parametrize(
    ("kind", "change", "fault"),
    [
        ("mask", lambda m: m * 0.7, "contains values such as 0.7, as a soft segmentation does"),
        (
            "mask",
            lambda m: m * 2,
            "contains 2 besides 0 and 1; say which value is GM with `label=2`",
        ),
        ("mask", lambda m: m * 255, "with `label=255`"),
        ("mask", lambda m: np.stack([m, m], axis=-1), "contains 2 volumes; give one mask"),
        ("soft", lambda m: m * 99.5, "a soft segmentation has 0 to 1"),
        ("soft", lambda m: np.where(m, 0.5, np.nan), "contains NaN"),
        ("cord", lambda m: m * 99.5, "a cord mask has 0 to 1"),
        ("cord", lambda m: np.where(m, 1, np.nan), "contains NaN"),
        ("soft", lambda m: m[:-1], "grid"),
        ("cord", lambda m: m[:-1], "grid"),
        ("levels", lambda m: m * 0.5, "whole numbers"),
        ("levels", lambda m: m * 0, "contains no level"),
    ],
)
def test_unusable_images_are_refused(mask, kind, change, fault):
    images = {"mask": mask, kind: change(mask.astype(np.float32))}
    images = {name: image(np.asarray(array, np.float32)) for name, array in images.items()}
    with pytest.raises(InputError, match=fault):
        gmseg.measure_mask(images.pop("mask"), **images)


def test_disc_labels_are_refused_as_levels(mask):
    points = np.zeros(mask.shape, np.int16)
    points[20, 20, 1], points[20, 20, 4] = 4, 5
    with pytest.raises(InputError, match="single points"):
        gmseg.measure_mask(image(mask), levels=image(points))


def test_label(mask):
    both = image(mask * 2 + (mask == 0))
    rows = gmseg.measure_mask(both, label=2)
    assert rows[-1]["gm_area_mm2"] == pytest.approx(mask[..., 0].sum() * PIXEL_MM**2)


def test_a_label_without_voxels_is_refused(mask):
    with pytest.raises(InputError, match="contains 255 and no 1; give the value of GM"):
        gmseg.measure_mask(image(mask * np.uint8(255)), label=1)
    assert gmseg.measure_mask(image(mask * 0), label=1)[-1]["gm_volume_mm3"] == 0


def test_every_slice_has_an_angle(cord):
    oblique, marked = oblique_gm(2.0), cord.copy()
    oblique[..., 0], marked[..., 4:] = 0, 0
    rows = gmseg.measure_mask(image(oblique), cord=image(marked), correct_obliqueness=True)
    assert rows[0]["gm_area_mm2"] == 0
    assert all(row["gm_area_mm2"] > 0 for row in rows[1:])
    assert all(np.isfinite(row["obliqueness_deg"]) for row in rows)


def test_horns_add_up_where_the_soft_segmentation_is_empty(mask, soft):
    soft = soft.copy()
    soft[..., 3] = 0
    rows = gmseg.measure_mask(image(mask), soft=image(soft))
    for kind in ("gm", "gm_soft"):
        sides = rows[-1][f"{kind}_left_area_mm2"] + rows[-1][f"{kind}_right_area_mm2"]
        assert sides == pytest.approx(rows[-1][f"{kind}_area_mm2"])


def test_angle_of_too_few_slices_is_unknown(mask):
    two = image(mask[..., :2])
    assert np.isnan(gmseg.measure_mask(two)[0]["obliqueness_deg"])
    with pytest.raises(InputError, match="fewer than 3 slices"):
        gmseg.measure_mask(two, correct_obliqueness=True)


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("degrees", [-55, 55, 70])
def test_areas_of_slices_that_lean_over_45_degrees(mask, soft, cord, axis, degrees):
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(**{axis: np.deg2rad(degrees)}))
    plain = [image(array) for array in (mask, soft, cord)]
    turned = [image(array, turn @ plain[0].affine) for array in (mask, soft, cord)]
    expected = gmseg.measure_mask(plain[0], soft=plain[1], cord=plain[2])[-1]
    values = gmseg.measure_mask(turned[0], soft=turned[1], cord=turned[2])[-1]
    for name, value in expected.items():
        if name.endswith(("_area_mm2", "_ratio", "_volume_mm3")):
            assert values[name] == pytest.approx(value, rel=1e-3, abs=0.02), name


def test_a_real_mask_turned_by_55_degrees(shared):
    folder = shared / "data/t2starw-multicentre/derivatives/labels/sub-9584/anat"
    real = nib.load(folder / "sub-9584_run-1_T2starw_gmseg-manual.nii.gz")
    turn = nib.affines.from_matvec(nib.eulerangles.euler2mat(x=np.deg2rad(55)))
    turned = nib.Nifti1Image(np.asarray(real.dataobj), turn @ real.affine)
    assert gmseg.measure_mask(turned)[-1]["gm_area_mm2"] == pytest.approx(13.1, abs=0.05)


def test_gm_outside_the_cord_mask_is_measured(mask, cord):
    inside = gmseg.measure_mask(image(mask), cord=image(cord))[-1]["gm_outside_cord_ratio"]
    assert inside == 0
    shifted = np.roll(cord, 12, axis=0)  # 6 mm
    overall = gmseg.measure_mask(image(mask), cord=image(shifted))[-1]
    lost = (mask > 0) & (shifted <= 0.5)
    assert overall["gm_outside_cord_ratio"] == pytest.approx(lost.sum() / mask.sum())
    assert overall["gm_outside_cord_ratio"] > 0.2


def test_a_cord_mask_in_another_orientation(mask, cord):
    flipped = nib.as_closest_canonical(image(cord))
    assert not np.array_equal(flipped.affine, image(cord).affine)
    expected = gmseg.measure_mask(image(mask), cord=image(cord))[-1]
    assert gmseg.measure_mask(image(mask), cord=flipped)[-1] == pytest.approx(expected, nan_ok=True)
