"""Scans in parts: the same as whole, in bounded memory, and nothing half-written."""

import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, reoriented

from gmseg import InputError
from gmseg.core.resampling import to_working_grid
from gmseg.datasets.phantom import make_phantom
from gmseg.inference import segment, session, stack
from gmseg.io import image, memory, scan_reader


@pytest.fixture(scope="module")
def sample():
    return make_phantom(seed=5, spacing_mm=(0.6, 0.5, 5.0), shape=(90, 110, 7)).image


@pytest.fixture
def small_memory(monkeypatch):
    """As if everything were large."""
    for module in (stack, scan_reader, session):
        monkeypatch.setattr(module, "HELD_BYTES", 1000)
    monkeypatch.setattr(scan_reader, "_SLAB_BYTES", 5_000_000)


@pytest.mark.parametrize("ornt", ALL_48[::7])
def test_parts_on_the_working_grid_are_parts_of_the_whole(sample, ornt):
    scan = reoriented(sample, ornt)
    opened = scan_reader.open_scan(scan)
    whole = to_working_grid(np.asarray(scan.dataobj, np.float32), scan.affine)
    np.testing.assert_allclose(opened.frame(0.25).affine, whole.affine)
    assert opened.frame(0.25).shape == whole.shape
    for first, last in ((0, 3), (3, 7)):
        part = opened.working(first, last, 0.25)
        np.testing.assert_array_equal(part.data, whole.data[..., first:last])
        assert opened.part_frame(first, last, 0.25).shape == part.shape
        corner = nib.affines.apply_affine(whole.affine, [2, 3, first])
        np.testing.assert_allclose(nib.affines.apply_affine(part.affine, [2, 3, 0]), corner)


@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_streamed_scan_gives_the_files_of_a_held_one(
    sample, tmp_path, ending, downwards, small_memory, monkeypatch
):
    scan = sample.slicer[..., ::-1] if downwards else sample
    file = tmp_path / f"scan{ending}"
    nib.save(nib.Nifti1Image(np.asarray(scan.dataobj).astype(np.int16), scan.affine), file)
    assert not scan_reader.open_scan(file).in_memory
    names = {kind: tmp_path / "streamed" / f"{kind}.nii.gz" for kind in ("mask", "soft")}
    streamed = segment.segment_files(file, names)
    monkeypatch.undo()
    assert scan_reader.open_scan(file).in_memory
    again = {kind: tmp_path / "held" / f"{kind}.nii.gz" for kind in ("mask", "soft")}
    held = segment.segment_files(file, again)
    for kind, name in names.items():
        contents = [gzip.decompress(path.read_bytes()) for path in (name, again[kind])]
        assert contents[0] == contents[1], kind
    assert replace(streamed, seconds=0) == replace(held, seconds=0)
    assert held.volume_mm3 > 0


def test_an_interruption_leaves_nothing(sample, tmp_path, small_memory):
    file, out = tmp_path / "scan.nii.gz", tmp_path / "out"
    nib.save(sample, file)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment.segment_files(file, {"mask": out / "mask.nii.gz"}, progress=stop)
    assert not list(out.glob("*"))


def test_a_damaged_scan_that_is_streamed_is_refused(sample, tmp_path, small_memory):
    file = tmp_path / "scan.nii.gz"
    nib.save(sample, file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"scan.nii.gz: is damaged or cut short"):
        scan_reader.open_scan(file)


def test_volumes_of_a_4d_scan(sample, tmp_path, small_memory):
    data = np.stack([np.asarray(sample.dataobj) + add for add in (0, 50, 100)], axis=-1)
    nib.save(nib.Nifti1Image(data.astype(np.int16), sample.affine), tmp_path / "scan.nii.gz")
    opened = scan_reader.open_scan(tmp_path / "scan.nii.gz", volume=1)
    assert (opened.in_memory, opened.shape) == (False, sample.shape)
    np.testing.assert_array_equal(opened.read(2, 4), data[..., 2:4, 1].astype(np.int16))
    mean = scan_reader.open_scan(tmp_path / "scan.nii.gz", mean=True)
    assert mean.in_memory
    np.testing.assert_allclose(mean.read(0, 7), data.astype(np.int16).mean(axis=-1), rtol=1e-6)
    with pytest.raises(InputError, match="choose one with --volume K"):
        scan_reader.open_scan(tmp_path / "scan.nii.gz")


def test_what_does_not_fit_is_refused_with_the_number(sample, tmp_path, monkeypatch):
    nib.save(sample, tmp_path / "scan.nii.gz")
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**20)
    with pytest.raises(InputError, match=r"scan.nii.gz: needs 0\.5 GiB of memory, read whole"):
        scan_reader.open_scan(tmp_path / "scan.nii.gz")


def test_available_memory_is_plausible():
    assert 2**20 < memory.available_bytes() < 2**50


@pytest.mark.parametrize("downwards", [False, True])
def test_some_slices_lie_where_they_lay(sample, downwards):
    opened = scan_reader.open_scan(sample.slicer[..., ::-1] if downwards else sample)
    thin, at = opened.thinned(3)
    assert thin.slices == len(at) == 3
    np.testing.assert_array_equal(np.diff(at), 3)
    whole, some = opened.working(0, 7, 0.25), thin.working(0, 3, 0.25)
    np.testing.assert_array_equal(some.data, whole.data[..., at])
    np.testing.assert_allclose(
        nib.affines.apply_affine(some.affine, [0, 0, 2]),
        nib.affines.apply_affine(whole.affine, [0, 0, at[2]]),
        atol=1e-6,
    )


def test_a_long_scan_is_followed_as_a_short_one(sample, monkeypatch):
    long = nib.Nifti1Image(np.repeat(np.asarray(sample.dataobj), 2, axis=2), sample.affine)
    whole = segment.segment(long)
    monkeypatch.setattr(session, "_THIN", 5)
    thinned = segment.segment(long)
    np.testing.assert_allclose(thinned.summary.area_mm2, whole.summary.area_mm2, rtol=0.05)
    assert image.affine_difference_mm(thinned.mask.affine, long.affine) == 0
