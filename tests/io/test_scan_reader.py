"""Scans that are read in parts."""

import nibabel as nib
import numpy as np
import pytest
from orientations import ALL_48, a_scan, reoriented

from gmseg import InputError
from gmseg.core.resampling import to_working_grid
from gmseg.io import memory, scan_reader


@pytest.fixture(scope="module")
def scan():
    return a_scan(shape=(30, 24, 7))


@pytest.fixture
def small_limit(monkeypatch):
    """Read every file in parts."""
    monkeypatch.setattr(scan_reader, "IN_MEMORY_BYTES", 1000)


@pytest.mark.parametrize("ornt", ALL_48[::7])
def test_slices_on_the_working_grid_are_those_of_the_whole_scan(scan, ornt):
    image = reoriented(scan, ornt)
    reader = scan_reader.open_scan(image)
    whole = to_working_grid(np.asarray(image.dataobj), image.affine)
    geometry = reader.working_geometry(0.25)
    np.testing.assert_allclose(geometry.affine, whole.affine)
    assert geometry.shape == whole.shape
    for first, last in ((0, 3), (3, 7)):
        part = reader.working_grid(first, last, 0.25)
        np.testing.assert_array_equal(part.data, whole.data[..., first:last])
        corner = nib.affines.apply_affine(whole.affine, [2, 3, first])
        np.testing.assert_allclose(nib.affines.apply_affine(part.affine, [2, 3, 0]), corner)


def test_a_damaged_scan_that_is_read_in_parts_is_refused(scan, tmp_path, small_limit):
    file = tmp_path / "scan.nii.gz"
    nib.save(scan, file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"scan.nii.gz: is damaged or truncated"):
        scan_reader.open_scan(file)


def test_volumes_of_a_4d_scan(scan, tmp_path, small_limit):
    data = np.stack([np.asarray(scan.dataobj) + add for add in (0, 50, 100)], axis=-1)
    data = data.astype(np.int16)
    nib.save(nib.Nifti1Image(data, scan.affine), tmp_path / "scan.nii.gz")
    reader = scan_reader.open_scan(tmp_path / "scan.nii.gz", volume=1)
    assert (reader.in_memory, reader.shape) == (False, scan.shape)
    np.testing.assert_array_equal(reader.read(2, 4), data[..., 2:4, 1])
    mean = scan_reader.open_scan(tmp_path / "scan.nii.gz", mean=True)
    assert mean.in_memory
    np.testing.assert_allclose(mean.read(0, 7), data.mean(axis=-1), rtol=1e-6)
    with pytest.raises(InputError, match="choose one with `volume=k` or average them with `mean="):
        scan_reader.open_scan(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("in_parts", [False, True])
def test_bad_voxels_are_counted(scan, tmp_path, in_parts, monkeypatch):
    data = np.array(scan.dataobj)
    data[0, 1, 2], data[3, 4, 5] = np.nan, np.inf
    nib.save(nib.Nifti1Image(data, scan.affine), tmp_path / "scan.nii.gz")
    if in_parts:
        monkeypatch.setattr(scan_reader, "IN_MEMORY_BYTES", 1000)
        monkeypatch.setattr(scan_reader, "_SLAB_BYTES", 6000)
    reader = scan_reader.open_scan(tmp_path / "scan.nii.gz")
    assert (reader.in_memory, reader.bad_voxels) == (not in_parts, 2)


def test_a_scan_that_does_not_fit_into_memory_is_refused_with_the_size(scan, tmp_path, monkeypatch):
    nib.save(scan, tmp_path / "scan.nii.gz")
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**20)
    with pytest.raises(InputError, match=r"scan.nii.gz: needs 0\.5 GiB of memory, read whole"):
        scan_reader.open_scan(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize("downwards", [False, True])
def test_every_nth_slice_keeps_its_place(scan, downwards):
    reader = scan_reader.open_scan(scan.slicer[..., ::-1] if downwards else scan)
    thin, numbers = reader.thinned(3)
    assert thin.slices == len(numbers) == 3
    np.testing.assert_array_equal(np.diff(numbers), 3)
    whole, some = reader.working_grid(0, 7, 0.25), thin.working_grid(0, 3, 0.25)
    np.testing.assert_array_equal(some.data, whole.data[..., numbers])
    np.testing.assert_allclose(
        nib.affines.apply_affine(some.affine, [0, 0, 2]),
        nib.affines.apply_affine(whole.affine, [0, 0, numbers[2]]),
        atol=1e-6,
    )


def test_an_array_with_its_affine_is_a_scan(scan):
    data = np.asarray(scan.dataobj)
    for kind in (np.float32, np.float64, np.int64, np.float16):
        reader = scan_reader.open_scan((data.astype(kind), scan.affine))
        np.testing.assert_array_equal(reader.read(0, 7), data.astype(kind).astype(np.float32))
        np.testing.assert_allclose(reader.affine, scan.affine, rtol=1e-7)
    for wrong, fault in (
        (data, r"the scan: is of type ndarray; give .* the tuple \(array, affine\)"),
        (None, "is of type NoneType; give a path"),
        ((scan.affine, data), r"an affine of shape \(30, 24, 7\)"),
        ((data.astype(complex), scan.affine), "has an array of complex128"),
        ((data[..., 0], scan.affine), "is 2-D"),
    ):
        with pytest.raises(InputError, match=fault):
            scan_reader.open_scan(wrong)
