"""Synthetic phantoms: orientation, sizes, labels and repeatability."""

from itertools import combinations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, label

from gmseg.datasets.phantom import SITES, make_phantom, write_challenge, write_sample
from gmseg.errors import InputError


def voxels(image):
    return np.asarray(image.dataobj)


def dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def around(phantom, k, right_mm, front_mm, reach_mm=2.0):
    """Return the scan's mean in a square at an offset from the cord's centre."""
    world = (*(phantom.centre_mm[k] + (right_mm, front_mm)), 0)
    i, j, _ = np.rint(nib.affines.apply_affine(np.linalg.inv(phantom.image.affine), world))
    n = round(reach_mm / phantom.image.header.get_zooms()[0])
    box = voxels(phantom.image)[int(i) - n : int(i) + n + 1, int(j) - n : int(j) + n + 1, k]
    assert box.size == (2 * n + 1) ** 2
    return box.mean()


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(seed=3, shape=(112, 112, 5))


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parent") / "new" / "challenge"
    return folder, write_challenge(folder, subjects=2, sites=2, seed=5, shape=(80, 80, 2))


def test_grid_types_and_values(phantom):
    assert nib.aff2axcodes(phantom.image.affine) == ("L", "A", "S")
    np.testing.assert_array_equal(phantom.image.affine, phantom.mask.affine)
    assert phantom.image.header["qform_code"] == phantom.image.header["sform_code"] == 1
    np.testing.assert_allclose(phantom.image.get_qform(), phantom.image.affine, atol=1e-5)
    np.testing.assert_allclose(phantom.image.header.get_zooms(), (0.5, 0.5, 5.0))
    assert phantom.image.shape == phantom.mask.shape == phantom.gm_fraction.shape == (112, 112, 5)
    assert phantom.image.get_data_dtype() == np.int16
    assert phantom.mask.get_data_dtype() == np.uint8
    assert phantom.gm_fraction.dtype == np.float32
    assert set(np.unique(voxels(phantom.mask))) == {0, 1, 2}
    assert phantom.gm_fraction.min() == 0
    assert phantom.gm_fraction.max() == 1
    np.testing.assert_array_equal(voxels(phantom.mask) == 1, phantom.gm_fraction >= 0.5)


def test_image_centre_is_world_zero_and_the_cord_lies_at_its_centre():
    phantom = make_phantom(seed=1, shape=(97, 81, 3), offset_mm=(6.0, -4.0), drift_mm=0)
    middle = nib.affines.apply_affine(phantom.image.affine, (48, 40, 1))
    np.testing.assert_allclose(middle, 0, atol=1e-6)
    np.testing.assert_allclose(phantom.centre_mm[1], (6, -4), atol=1e-6)
    for k in range(3):
        cord = np.argwhere(voxels(phantom.mask)[..., k] > 0).mean(0)
        place = nib.affines.apply_affine(phantom.image.affine, (*cord, k))[:2]
        np.testing.assert_allclose(place, phantom.centre_mm[k], atol=0.08)


def test_vertebral_body_is_in_front_and_spinous_process_behind():
    # the middle of C5: bone, no disc; the field reaches 28 mm to each side
    phantom = make_phantom(seed=4, shape=(112, 112, 1), level=5.0, bias=0)
    wm = voxels(phantom.image)[voxels(phantom.mask) == 2].mean()
    body = [around(phantom, 0, right, 17) for right in (-6, 6)]
    behind = [around(phantom, 0, right, -17) for right in (-6, 6)]  # muscles beside the process
    assert max(body) < 0.45 * wm
    assert min(behind) > 0.55 * wm
    assert around(phantom, 0, 0, -13, reach_mm=1) < 0.5 * wm


@pytest.mark.parametrize("seed", [2, 11])
def test_anterior_horns_are_wide_and_posterior_horns_nearly_reach_the_surface(seed):
    phantom = make_phantom(seed=seed, spacing_mm=(0.25, 0.25, 5.0), shape=(80, 80, 1), level=6.0)
    gm, cord = voxels(phantom.mask)[..., 0] == 1, voxels(phantom.mask)[..., 0] > 0
    assert label(gm)[1] == 1, "the commissure joins both halves"
    rows = np.flatnonzero(gm.any(0))  # from posterior to anterior: axis 1 points forward
    quarter = len(rows) // 4
    assert (
        gm[:, rows[-2 * quarter : -quarter]].sum() > 1.3 * gm[:, rows[quarter : 2 * quarter]].sum()
    )
    across = np.flatnonzero(cord.any(0))
    assert across[-1] - rows[-1] > rows[0] - across[0]


@pytest.mark.parametrize("spacing", [0.25, 0.4, 0.5, 0.65])
def test_fractions_add_up_to_the_area(spacing):
    n = round(20 / spacing)
    phantom = make_phantom(seed=6, spacing_mm=(spacing, spacing, 5.0), shape=(n, n, 3))
    summed = phantom.gm_fraction.sum((0, 1), dtype=float) * spacing**2
    np.testing.assert_allclose(summed, phantom.gm_area_mm2, rtol=0.02)


def test_same_seed_gives_the_same_cord_on_any_grid():
    fine = make_phantom(seed=8, spacing_mm=(0.25, 0.25, 5.0), shape=(80, 80, 3))
    coarse = make_phantom(seed=8, spacing_mm=(0.6, 0.5, 5.0), shape=(40, 44, 3), site=2)
    np.testing.assert_allclose(fine.gm_area_mm2, coarse.gm_area_mm2)
    np.testing.assert_allclose(fine.centre_mm, coarse.centre_mm)
    assert fine.levels == coarse.levels


def test_same_seed_same_voxels_and_other_seeds_differ():
    first, again, other = (make_phantom(seed=s, shape=(64, 64, 2)) for s in (1, 1, 2))
    np.testing.assert_array_equal(voxels(first.image), voxels(again.image))
    np.testing.assert_array_equal(voxels(first.mask), voxels(again.mask))
    np.testing.assert_array_equal(first.gm_fraction, again.gm_fraction)
    assert dice(voxels(first.mask) == 1, voxels(other.mask) == 1) < 0.95
    assert abs(first.gm_area_mm2 - other.gm_area_mm2).max() > 0.05


@pytest.mark.parametrize("site", [1, 2, 3, 4])
def test_contrast_is_that_of_a_t2star_weighted_scan(site):
    spacing = SITES[site - 1].spacing_mm
    n = round(30 / spacing[0])
    phantom = make_phantom(seed=9, site=site, spacing_mm=spacing, shape=(n, n, 2))
    scan, mask = voxels(phantom.image).astype(float), voxels(phantom.mask)
    cord = mask > 0
    wm = binary_erosion(cord, np.ones((3, 3, 1))) & (mask == 2)
    ring = binary_dilation(cord, np.ones((3, 3, 1)), iterations=round(1.2 / spacing[0])) & ~cord
    gm, wm, csf = scan[mask == 1].mean(), scan[wm].mean(), np.percentile(scan[ring], 75)
    assert 1.08 < gm / wm < 1.4, "real scans: 1.14 to 1.26"
    assert csf > 1.25 * gm


@pytest.mark.parametrize("seed", range(4))
def test_sizes_are_anatomical(seed):
    phantom = make_phantom(seed=seed, shape=(48, 48, 5), spacing_mm=(0.5, 0.5, 10.0))
    cord = voxels(phantom.mask) > 0
    area_mm2 = cord.sum((0, 1)) * 0.25
    width_mm = cord.any(1).sum(0) * 0.5
    height_mm = cord.any(0).sum(0) * 0.5
    assert np.all((area_mm2 > 62) & (area_mm2 < 100))
    assert np.all((width_mm >= 10.5) & (width_mm <= 15.5))
    assert np.all((height_mm >= 7) & (height_mm <= 10))
    assert np.all((phantom.gm_area_mm2 > 10) & (phantom.gm_area_mm2 < 21))
    share = phantom.gm_area_mm2 / area_mm2
    assert np.all((share > 0.13) & (share < 0.24))
    assert np.all(np.abs(np.diff(phantom.gm_area_mm2)) < 4), "the shape changes smoothly"


def test_gray_matter_is_largest_in_the_enlargement():
    high, low = (make_phantom(seed=5, shape=(32, 32, 1), level=level) for level in (2.5, 6.0))
    assert low.gm_area_mm2[0] > 1.15 * high.gm_area_mm2[0]
    assert (high.levels, low.levels) == (["C2"], ["C6"])


def test_levels_descend_from_the_top_slice():
    phantom = make_phantom(seed=0, shape=(16, 16, 9), spacing_mm=(1, 1, 16))
    numbers = [8 if name == "T1" else int(name[1:]) for name in phantom.levels]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 8


def test_noise_and_bias_have_the_given_strength():
    clean, noisy = (make_phantom(seed=2, shape=(64, 64, 1), noise=n, bias=0) for n in (0, 0.05))
    difference = voxels(noisy.image).astype(float) - voxels(clean.image)
    bright = voxels(clean.image) > 0.4 * SITES[0].gain
    assert difference[bright].std() == pytest.approx(0.05 * SITES[0].gain, rel=0.15)
    np.testing.assert_array_equal(voxels(noisy.mask), voxels(clean.mask))
    uneven = make_phantom(seed=2, shape=(64, 64, 1), noise=0, bias=0.3)
    ratio = voxels(uneven.image)[bright] / voxels(clean.image)[bright]
    assert ratio.max() / ratio.min() > 1.05


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 1.5},
        {"site": 0},
        {"site": 5},
        {"shape": (8, 64, 1)},
        {"shape": (64, 64)},
        {"spacing_mm": (0.5, 0.5, 0)},
        {"spacing_mm": (0.5, float("nan"), 5)},
        {"noise": -0.1},
        {"supersample": 2},
    ],
)
def test_unusable_numbers_are_refused(wrong):
    with pytest.raises(InputError):
        make_phantom(**{"seed": 0, "shape": (16, 16, 1), **wrong})


def test_challenge_has_the_layout_of_the_real_one(challenge):
    folder, written = challenge
    expected = {
        f"site{site}-sc{number:02d}-{rest}"
        for site in (1, 2)
        for number in (1, 2)
        for rest in ("image.nii.gz", "levels.txt", *(f"mask-r{r}.nii.gz" for r in (1, 2, 3, 4)))
    }
    assert {path.name for path in written} == expected == {p.name for p in folder.iterdir()}
    for site in (1, 2):
        image = nib.load(folder / f"site{site}-sc01-image.nii.gz")
        np.testing.assert_allclose(image.header.get_zooms(), SITES[site - 1].spacing_mm)
        assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
        lines = (folder / f"site{site}-sc01-levels.txt").read_text().splitlines()
        assert [line.split(",")[0] for line in lines] == ["0", "1"]
        assert all(line.split(",")[1][0] in "CT" for line in lines)


def test_sites_have_grids_within_the_challenges_range():
    for site in SITES:
        assert all(0.25 <= spacing <= 0.65 for spacing in site.spacing_mm[:2])
        assert 2.5 <= site.spacing_mm[2] <= 7.5
        assert min(np.multiply(site.shape, site.spacing_mm)[:2]) >= 50, "a window fits"
    assert len({site.spacing_mm for site in SITES}) == len(SITES)


@pytest.mark.parametrize("stem", ["site1-sc01", "site1-sc02", "site2-sc01", "site2-sc02"])
def test_raters_nearly_agree(challenge, stem):
    folder, _ = challenge
    masks = [voxels(nib.load(folder / f"{stem}-mask-r{r}.nii.gz")) for r in (1, 2, 3, 4)]
    assert all(set(np.unique(mask)) == {0, 1, 2} for mask in masks)
    for first, second in combinations(masks, 2):
        assert 0.8 <= dice(first == 1, second == 1) <= 0.99


def test_raters_agree_with_the_exact_labels(challenge):
    folder, _ = challenge
    rng = np.random.default_rng([5, 1, 1])  # as write_challenge draws subject 1 of site 1
    seed, offset_mm = int(rng.integers(2**31)), tuple(rng.uniform(-3, 3, 2))
    exact = make_phantom(seed=seed, shape=(80, 80, 2), offset_mm=offset_mm)
    scan = nib.load(folder / "site1-sc01-image.nii.gz")
    np.testing.assert_array_equal(voxels(scan), voxels(exact.image))
    for r in (1, 2, 3, 4):
        mask = voxels(nib.load(folder / f"site1-sc01-mask-r{r}.nii.gz"))
        assert 0.8 <= dice(mask == 1, voxels(exact.mask) == 1) <= 0.99
        assert dice(mask > 0, voxels(exact.mask) > 0) > 0.95


def test_subjects_differ_and_do_not_depend_on_how_many_are_written(challenge, tmp_path):
    folder, _ = challenge
    write_challenge(tmp_path, subjects=1, sites=1, raters=1, seed=5, shape=(80, 80, 2))
    for name in ("site1-sc01-image.nii.gz", "site1-sc01-mask-r1.nii.gz"):
        few, many = (voxels(nib.load(place / name)) for place in (tmp_path, folder))
        np.testing.assert_array_equal(few, many)
    first, second = (voxels(nib.load(folder / f"site1-sc0{n}-mask-r1.nii.gz")) for n in (1, 2))
    assert dice(first == 1, second == 1) < 0.9


def test_existing_files_are_kept_without_overwrite(tmp_path):
    small = {"subjects": 1, "sites": 1, "raters": 1, "shape": (32, 32, 1)}
    mine = tmp_path / "site9-sc01-image.nii.gz"
    mine.write_bytes(b"a real challenge's file")
    with pytest.raises(InputError, match="exists; set `overwrite=True`"):
        write_challenge(tmp_path, **small)
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
    assert len(write_challenge(tmp_path, **small, overwrite=True)) == 3
    assert mine.read_bytes() == b"a real challenge's file"
    with pytest.raises(InputError, match="is a file"):
        write_challenge(mine, **small)
    with pytest.raises(InputError, match="cannot be created"):
        write_challenge(mine / "below", **small)


@pytest.mark.parametrize("wrong", [{"subjects": 0}, {"sites": 5}, {"raters": 0}, {"seed": -1}])
def test_challenge_with_unusable_numbers_writes_nothing(tmp_path, wrong):
    with pytest.raises(InputError):
        write_challenge(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_sample_is_small_and_binary(tmp_path):
    written = write_sample(tmp_path)
    assert [path.name for path in written] == ["phantom_t2s.nii.gz", "phantom_t2s_gm.nii.gz"]
    assert sum(path.stat().st_size for path in written) < 500_000
    scan, gm = (nib.load(path) for path in written)
    assert [image.get_data_dtype() for image in (scan, gm)] == [np.int16, np.uint8]
    assert scan.shape == gm.shape == (128, 128, 10)
    assert set(np.unique(voxels(gm))) == {0, 1}
    assert (voxels(gm).any((0, 1))).all()
    with pytest.raises(InputError):
        write_sample(tmp_path)
