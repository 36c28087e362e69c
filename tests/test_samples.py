"""Training samples: which windows, which masks."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest
from training import small

from gmseg import InputError, samples
from gmseg.augment import warp
from gmseg.datasets import bids_scans
from gmseg.protocol import Phantoms, load_protocol


def test_slices_without_labels_are_left_out(dataset):
    [first, *_] = bids_scans(dataset)
    scan = samples.prepare_training_scan(first)
    assert len(scan.slices) == len(scan.masks) == len(scan.centres) == 1
    assert scan.masks.max() <= 1
    assert scan.masks[0].sum() * 0.25**2 == pytest.approx(14, rel=0.5)  # mm^2 of GM


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_scan_with_bad_voxels_is_not_trained_on(dataset, tmp_path, value):
    item = bids_scans(dataset)[0]
    scan = nib.load(item.scan)
    data = scan.get_fdata()
    data[0, 0, 0] = value
    nib.save(nib.Nifti1Image(data, scan.affine), tmp_path / "bad.nii.gz")
    with pytest.raises(InputError, match=r"bad\.nii\.gz: holds NaN or infinite voxels"):
        samples.prepare_training_scan(dataclasses.replace(item, scan=tmp_path / "bad.nii.gz"))


def test_batches_depend_on_seed_and_step_alone(dataset):
    scans = [samples.prepare_training_scan(item) for item in bids_scans(dataset)]
    made_up = samples.prepare_phantoms(small().phantoms)
    batches = [
        samples.make_batch(scans, made_up, small(), seed, step)
        for seed, step in ((1, 5), (1, 5), (1, 6), (2, 5))
    ]
    assert batches[0][0].shape == batches[0][1].shape == (2, 24, 24, 1)
    np.testing.assert_array_equal(batches[0][0], batches[1][0])
    assert (batches[0][0] != batches[2][0]).any()
    assert (batches[0][0] != batches[3][0]).any()


def test_masks_lie_on_the_gray_matter_of_their_windows(dataset):
    scans = [samples.prepare_training_scan(item) for item in bids_scans(dataset)]
    protocol = load_protocol()
    calm = dataclasses.replace(protocol.augmentation, noise=0, blur=0, bias_field=0, sharpen=0)
    protocol = dataclasses.replace(
        protocol,
        augmentation=calm,
        phantoms=Phantoms(),
        windows=dataclasses.replace(protocol.windows, near_cord=1.0, small_field=0.0),
    )
    for seed in range(8):
        plane, mask = samples.make_sample(np.random.default_rng(seed), scans, [], protocol)
        near = warp(mask, np.indices(mask.shape) + 0.0) > 0.9
        around = (np.roll(mask, 8, 0) + np.roll(mask, -8, 0) > 0.5) & (mask < 0.05)
        assert plane[near].mean() > plane[around].mean() - 0.05  # GM is brighter than WM
