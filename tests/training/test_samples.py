"""Training samples: windows and their masks."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest
from tiny_training import small

from gmseg import InputError, load_model
from gmseg.core import pipeline
from gmseg.datasets.folders import bids_scans, find_scans
from gmseg.datasets.phantom import write_challenge
from gmseg.io.image import read_scan
from gmseg.training import samples
from gmseg.training.augmentation import Augmentation, warp
from gmseg.training.protocol import Phantoms, load_protocol


def test_slices_without_labels_are_left_out(dataset):
    [first, *_] = bids_scans(dataset)
    scan = samples.prepare_training_scan(first, load_protocol())
    assert len(scan.slices) == scan.masks.shape[1] == len(scan.centres) == 1
    assert scan.masks.max() <= 1
    assert scan.masks[0, 0].sum() * 0.25**2 == pytest.approx(14, rel=0.5)  # mm^2 of GM


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_scan_with_bad_voxels_is_refused(dataset, tmp_path, value):
    item = bids_scans(dataset)[0]
    scan = nib.load(item.scan)
    data = scan.get_fdata()
    data[0, 0, 0] = value
    nib.save(nib.Nifti1Image(data, scan.affine), tmp_path / "bad.nii.gz")
    item = dataclasses.replace(item, scan=tmp_path / "bad.nii.gz")
    with pytest.raises(InputError, match=r"bad\.nii\.gz: contains NaN or infinite voxels"):
        samples.prepare_training_scan(item, load_protocol())


def challenge_set(folder, raters):
    """Return a training set of one subject whose raters labelled different sides of the cord."""
    write_challenge(folder, subjects=1, sites=1, raters=2, shape=(60, 60, 1))
    masks = sorted(folder.glob("*-mask-*"))
    for file, side in zip(masks, (slice(None, 30), slice(30, None)), strict=True):
        image = nib.load(file)
        drawn = np.zeros(image.shape, np.uint8)
        drawn[25:35, 25:35] = 1
        drawn[side] = 0
        drawn[30, 30] = 1  # where both agree
        nib.save(nib.Nifti1Image(drawn, image.affine), file)
    protocol = load_protocol("paper2018")
    windows = dataclasses.replace(protocol.windows, raters=raters, batch=1)
    protocol = dataclasses.replace(protocol, windows=windows, augmentation=Augmentation())
    return samples.prepare_training_set(find_scans(folder), protocol), protocol


def test_every_rater_is_a_sample_or_their_majority(tmp_path):
    areas = set()
    training_set, protocol = challenge_set(tmp_path / "each", "each")
    for step in range(12):
        _, masks = samples.make_batch(training_set, protocol, 0, step)
        areas.add(round(float(masks[0, :100].sum() - masks[0, 100:].sum()), 1))
    assert len(areas) == 2  # one rater's side or the other's, never a mixture
    training_set, protocol = challenge_set(tmp_path / "majority", "majority")
    _, masks = samples.make_batch(training_set, protocol, 0, 0)
    assert masks.sum() * 0.25**2 == pytest.approx(0.5**2, rel=0.05)  # the one voxel of both


def test_windows_of_the_paper_equal_those_at_inference(tmp_path):
    """A training window without augmentation is the window at inference."""
    training_set, protocol = challenge_set(tmp_path, "each")
    windows, _ = samples.make_batch(training_set, protocol, 0, 0)
    scan = read_scan(tmp_path / "site1-sc01-image.nii.gz")
    model = dataclasses.replace(load_model(), window=protocol.windows.size)
    ready = pipeline.prepare(scan, model, centre="image")
    np.testing.assert_allclose(windows[..., 0], ready.windows, atol=1e-5)


def test_batches_depend_on_seed_and_step_alone(dataset):
    training_set = samples.prepare_training_set(bids_scans(dataset), small())
    batches = [
        samples.make_batch(training_set, small(), seed, step)
        for seed, step in ((1, 5), (1, 5), (1, 6), (2, 5))
    ]
    assert batches[0][0].shape == batches[0][1].shape == (2, 24, 24, 1)
    np.testing.assert_array_equal(batches[0][0], batches[1][0])
    assert (batches[0][0] != batches[2][0]).any()
    assert (batches[0][0] != batches[3][0]).any()


def test_masks_lie_on_the_gray_matter_of_their_windows(dataset):
    protocol = load_protocol()
    calm = dataclasses.replace(
        protocol.augmentation, noise=0, blur=0, coarse=0, bias_field=0, sharpen=0
    )
    protocol = dataclasses.replace(
        protocol,
        augmentation=calm,
        phantoms=Phantoms(),
        windows=dataclasses.replace(protocol.windows, near_cord=1.0, small_field=0.0),
    )
    training_set = samples.prepare_training_set(bids_scans(dataset), protocol)
    for seed in range(8):
        plane, mask = samples.make_sample(np.random.default_rng(seed), training_set, protocol)
        mask = mask[..., 0]
        near = warp(mask, np.indices(mask.shape) + 0.0) > 0.9
        around = (np.roll(mask, 8, 0) + np.roll(mask, -8, 0) > 0.5) & (mask < 0.05)
        assert plane[near].mean() > plane[around].mean() - 0.05  # GM is brighter than WM


def masks_of_both(dataset, protocol, *, known):
    """Return masks of samples of a scan whose cord is 0.8 of its GM, or unknown."""
    protocol = dataclasses.replace(protocol, network=protocol.network | {"outputs": 2})
    training_set = samples.prepare_training_set(bids_scans(dataset)[:1], protocol)
    [[scan]] = training_set.subjects
    cords = 0.8 * scan.masks[0] if known else None
    training_set = dataclasses.replace(
        training_set, subjects=[[dataclasses.replace(scan, cords=cords)]], phantoms=[]
    )
    pairs = [
        samples.make_sample(np.random.default_rng(seed), training_set, protocol)
        for seed in range(6)
    ]
    return np.stack([masks for _, masks in pairs])


def test_cord_is_warped_with_the_gray_matter_and_unknown_where_it_is_not_labelled(dataset):
    protocol = dataclasses.replace(load_protocol(), phantoms=Phantoms())
    known = masks_of_both(dataset, protocol, known=True)  # both must move alike
    np.testing.assert_allclose(known[..., 1], 0.8 * known[..., 0], atol=1e-6)
    assert known.max() > 0.9
    unknown = masks_of_both(dataset, protocol, known=False)
    assert np.isnan(unknown[..., 1]).all()
    np.testing.assert_array_equal(unknown[..., 0], known[..., 0])
