"""Degradations: masks move with the voxels, and other things stay."""

import nibabel as nib
import numpy as np
import pytest

from gmseg.datasets import degradations
from gmseg.datasets.phantom import make_phantom
from gmseg.evaluation import metrics

QUARTERS = "turned by quarters"
MOVES = ("shifted", QUARTERS, "mirrored", "turned", "cut", "coarse", "sagittal", "swollen")


@pytest.fixture(scope="module")
def cord():
    phantom = make_phantom(seed=3, spacing_mm=(0.5, 0.6, 5.0), shape=(130, 120, 4))
    labels = np.asarray(phantom.mask.dataobj)
    return degradations.labelled_volume(phantom.image, labels == 1, labels > 0)


def test_volume_is_las_and_keeps_its_masks(cord):
    assert nib.aff2axcodes(cord.affine) == ("L", "A", "S")
    assert (cord.gm & ~cord.cord).sum() == 0
    assert cord.data[cord.gm].mean() > cord.data[cord.cord & ~cord.gm].mean()


@pytest.mark.parametrize("name", degradations.DEGRADATIONS)
def test_every_degradation_changes_a_copy_and_is_seeded(cord, name):
    way = degradations.DEGRADATIONS[name]
    before = cord.data.copy()
    first, again = (way.change(cord, way.values[-1], np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first.data, again.data)
    assert first.data.shape != cord.data.shape or not np.array_equal(first.data, cord.data)
    np.testing.assert_array_equal(cord.data, before)
    assert first.data.shape == first.gm.shape == first.cord.shape
    assert np.isfinite(first.data).all()


@pytest.mark.parametrize("name", MOVES)
def test_the_reference_moves_with_the_voxels(cord, name):
    """A scan that equals its reference still does after the change."""
    data = cord.gm.astype(np.float32)
    itself = degradations.LabelledVolume(data, cord.gm, cord.cord, cord.affine)
    way = degradations.DEGRADATIONS[name]
    for value in way.values[:2]:
        moved = way.change(itself, value, np.random.default_rng(1))
        assert metrics.dice(moved.data > 0.5, moved.gm) > 0.97


def test_geometry_in_numbers(cord):
    rng = np.random.default_rng(0)
    far = degradations.shifted(cord, 40.0, rng)
    centre = nib.affines.apply_affine(far.affine, (np.array(far.data.shape) - 1) / 2)[:2]
    place = nib.affines.apply_affine(far.affine, np.argwhere(far.cord).mean(axis=0))[:2]
    assert np.linalg.norm(place - centre) == pytest.approx(40, abs=1.5)
    # the cord keeps its place in the world, and rotated pixels keep their sizes
    before = nib.affines.apply_affine(cord.affine, np.argwhere(cord.cord).mean(axis=0))[:2]
    np.testing.assert_allclose(place, before, atol=1e-3)
    quarter = degradations.turned(cord, 90, rng)
    np.testing.assert_allclose(quarter.sizes_mm, cord.sizes_mm[[1, 0, 2]])
    np.testing.assert_allclose(degradations.coarser(cord, 1.3, rng).sizes_mm, [1.3, 1.3, 5.0])


def test_intensities_in_numbers(cord):
    rng = np.random.default_rng(0)

    def contrast(volume):
        white = volume.cord & ~volume.gm
        return volume.data[volume.gm].mean() - volume.data[white].mean()

    assert contrast(degradations.flattened(cord, 1.0, rng)) < 0.3 * contrast(cord)
    assert contrast(degradations.inverted(cord, 1.0, rng)) < 0
    lost = degradations.dropped(cord, 2, rng)
    assert (lost.data != cord.data).any(axis=(0, 1)).sum() == 2
