"""Spoiling: the reference goes where the voxels go, and other things stay."""

import nibabel as nib
import numpy as np
import pytest

from gmseg.datasets import degradations
from gmseg.datasets.phantom import make_phantom
from gmseg.evaluation import metrics

MOVES = (
    "shifted",
    "turned by quarters",
    "mirrored",
    "turned",
    "cut",
    "coarse",
    "sagittal",
    "swollen",
)


@pytest.fixture(scope="module")
def cord():
    made = make_phantom(seed=3, spacing_mm=(0.5, 0.6, 5.0), shape=(130, 120, 4))
    labels = np.asarray(made.mask.dataobj)
    return degradations.labelled(made.image, labels == 1, labels > 0)


def test_las_and_masks_kept(cord):
    assert nib.aff2axcodes(cord.affine) == ("L", "A", "S")
    assert (cord.gm & ~cord.cord).sum() == 0
    assert cord.data[cord.gm].mean() > cord.data[cord.cord & ~cord.gm].mean()


@pytest.mark.parametrize("way", degradations.DEGRADATIONS)
def test_every_way_changes_something_is_seeded_and_keeps_the_original(cord, way):
    spoil = degradations.DEGRADATIONS[way]
    before = cord.data.copy()
    one, two = (spoil.change(cord, spoil.values[-1], np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one.data, two.data)
    assert one.data.shape != cord.data.shape or not np.array_equal(one.data, cord.data)
    np.testing.assert_array_equal(cord.data, before)
    assert one.data.shape == one.gm.shape == one.cord.shape
    assert np.isfinite(one.data).all()


@pytest.mark.parametrize("way", MOVES)
def test_the_reference_moves_with_the_voxels(cord, way):
    """A scan that is its own reference stays so."""
    itself = degradations.Labelled(cord.gm.astype(np.float32), cord.gm, cord.cord, cord.affine)
    spoil = degradations.DEGRADATIONS[way]
    for value in spoil.values[:2]:
        moved = spoil.change(itself, value, np.random.default_rng(1))
        assert metrics.dice(moved.data > 0.5, moved.gm) > 0.97


def test_geometry_by_numbers(cord):
    rng = np.random.default_rng(0)
    far = degradations.shifted(cord, 40.0, rng)
    centre = nib.affines.apply_affine(far.affine, (np.array(far.data.shape) - 1) / 2)[:2]
    place = nib.affines.apply_affine(far.affine, np.argwhere(far.cord).mean(axis=0))[:2]
    assert np.linalg.norm(place - centre) == pytest.approx(40, abs=1.5)
    # the cord is where it was in the world, and turned pixels keep their sides
    before = nib.affines.apply_affine(cord.affine, np.argwhere(cord.cord).mean(axis=0))[:2]
    np.testing.assert_allclose(place, before, atol=1e-3)
    quarter = degradations.turned(cord, 90, rng)
    np.testing.assert_allclose(quarter.sizes_mm, cord.sizes_mm[[1, 0, 2]])
    np.testing.assert_allclose(degradations.coarser(cord, 1.3, rng).sizes_mm, [1.3, 1.3, 5.0])


def test_intensities_by_numbers(cord):
    rng = np.random.default_rng(0)

    def contrast(case):
        white = case.cord & ~case.gm
        return case.data[case.gm].mean() - case.data[white].mean()

    assert contrast(degradations.flattened(cord, 1.0, rng)) < 0.3 * contrast(cord)
    assert contrast(degradations.inverted(cord, 1.0, rng)) < 0
    lost = degradations.dropped(cord, 2, rng)
    assert (lost.data != cord.data).any(axis=(0, 1)).sum() == 2
