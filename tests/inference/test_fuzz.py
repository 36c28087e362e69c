"""Damaged image files are refused in one line, or read for what they hold; nothing else."""

import collections
import dataclasses
import gzip
import os
import re
import shutil
import struct

import h5py
import nibabel as nib
import numpy as np
import pytest
from limits import limits
from mutations import AFFINE, SHAPE, mutate, write_minc2, write_originals
from orientations import a_scan
from refusals import is_one_line, load_with_nibabel, read_or_refused, same_affine

from gmseg import InputError, load_model
from gmseg.inference import segment
from gmseg.io import image, scan_reader

SECONDS, MEGABYTES = 20, 100
VOXELS = np.arange(60, dtype=np.int16).reshape(5, 4, 3)


def test_scans_of_every_format_are_read(tmp_path):
    for original in write_originals(tmp_path):
        scan = image.read_scan(original[0], volume=0)
        theirs = load_with_nibabel(original[0])
        assert scan.shape == theirs.shape[:3]
        assert same_affine(scan, theirs)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return write_originals(tmp_path_factory.mktemp("originals"))


@pytest.fixture
def fast_model(monkeypatch):
    """Return a model of small windows, and replace its network: it detects a disc in the centre."""

    def predict(windows):
        size = windows.shape[1]
        rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
        return ((np.hypot(rows, columns) < 6) + 0 * windows)[:, None]

    monkeypatch.setattr(segment, "load_predictor", lambda _: predict)
    return dataclasses.replace(load_model(), voxel_size_mm=0.5, window=80)


def segment_damaged(path, out, model) -> str:
    """Segment a damaged file, and check everything that is left."""
    before = sorted(path.parent.iterdir())
    files = {kind: out / f"{kind}.nii.gz" for kind in ("mask", "soft")}
    with limits(SECONDS, MEGABYTES):
        summary = read_or_refused(path, segment.segment_files, path, files, model, volume=0)
    assert sorted(path.parent.iterdir()) == before
    if summary is None:
        assert not out.exists()
        return "refused"
    theirs = load_with_nibabel(path)
    assert sorted(out.iterdir()) == sorted(files.values())
    for result in map(nib.load, files.values()):
        assert result.shape == theirs.shape[:3]
        assert same_affine(result, theirs)
        assert np.isfinite(np.asarray(result.dataobj)).all()
    return "segmented"


def read_as_masks(path, scan) -> None:
    """Read a damaged file as every kind of mask."""
    with limits(SECONDS, MEGABYTES):
        read_or_refused(path, image.read_mask, path, scan, what="mask")
        read_or_refused(path, image.read_segmentation, path)
        read_or_refused(path, image.read_segmentation, path, label=1)


def try_damaged_files(numbers, originals, model, tmp_path, monkeypatch) -> collections.Counter:
    """Try damaged files; a failure names the number of its file."""
    outcomes = collections.Counter()
    scan = nib.Nifti1Image(np.ones(SHAPE, np.float32), AFFINE)
    in_memory_bytes = scan_reader.IN_MEMORY_BYTES
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        path = mutate(number, originals, folder)
        # every third is read in parts, as large scans are
        monkeypatch.setattr(scan_reader, "IN_MEMORY_BYTES", in_memory_bytes if number % 3 else 0)
        try:
            outcomes[segment_damaged(path, tmp_path / "out", model)] += 1
            if number % 2:
                read_as_masks(path, scan)
        except BaseException as error:
            error.add_note(f"damaged file number {number}: see `mutations.mutate`")
            raise
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    return outcomes


def test_300_damaged_files(originals, fast_model, tmp_path, monkeypatch):
    outcomes = try_damaged_files(range(300), originals, fast_model, tmp_path, monkeypatch)
    assert min(outcomes["segmented"], outcomes["refused"]) > 50


@pytest.mark.slow
def test_10000_damaged_files(originals, fast_model, tmp_path, monkeypatch, capsys):
    outcomes = try_damaged_files(range(300, 10_300), originals, fast_model, tmp_path, monkeypatch)
    with capsys.disabled():
        print(f"\n{dict(outcomes)}")


# Files that were found by the tests above, or thought of.


def write_fields(path, **fields):
    """Write fields into the header of a NIfTI file that nibabel would refuse to write."""
    content = bytearray(path.read_bytes())
    header = np.frombuffer(content[:348], nib.Nifti1Header.template_dtype).copy()[0]
    for field, value in fields.items():
        header[field] = value
    content[:348] = header.tobytes()
    path.write_bytes(content)


def coded_scan(path, **fields):
    """Write a scan with qform and sform, and then fields into its header."""
    scan = a_scan()
    scan.set_qform(scan.affine, 1)
    scan.set_sform(scan.affine, 1)
    nib.save(scan, path)
    write_fields(path, **fields)


def last_row_in_mat_file(path):
    nib.save(nib.Spm99AnalyzeImage(VOXELS, np.eye(4)), path)
    mat = path.with_suffix(".mat")
    content = mat.read_bytes()
    at = content.rindex(struct.pack("<d", 1.0))
    mat.write_bytes(content[:at] + struct.pack("<d", 0.5) + content[at + 8 :])


def zero_pixdim(path):
    nib.save(nib.AnalyzeImage(VOXELS, None), path)
    write_fields(path.with_suffix(".hdr"), pixdim=[1, 0, 1, 1, 0, 0, 0, 0])


def far_away(path):
    affine = AFFINE.copy()
    affine[2, 3] = 1e300
    nib.save(nib.Nifti2Image(VOXELS, affine), path)


def overflowing_mgh(path):
    nib.save(nib.MGHImage(np.ones((3, 3, 3), np.float32), np.eye(4)), path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[4:20] = struct.pack(">4i", 2**16, 2**16, 2**16, 2**15 - 1)
    path.write_bytes(gzip.compress(content))


def four_minc(path):
    write_minc2(path, np.ones((4, 3, 2), np.uint8))
    with h5py.File(path, "r+") as file:
        group = file["minc-2.0/image/0"]
        del group["image"]
        data = np.arange(48, dtype=np.uint8).reshape(2, 2, 3, 4)
        voxels = group.create_dataset("image", data=data)
        voxels.attrs["dimorder"] = np.bytes_("time,zspace,yspace,xspace")
        time = file.create_dataset("minc-2.0/dimensions/time", data=0)
        time.attrs["spacing"] = np.bytes_("regular__")


def linked_minc(path):
    write_minc2(path.with_name("other.mnc"), np.arange(24, dtype=np.uint8).reshape(4, 3, 2))
    write_minc2(path, np.ones((4, 3, 2), np.uint8))
    with h5py.File(path, "r+") as file:
        group = file["minc-2.0/image/0"]
        del group["image"]
        group["image"] = h5py.ExternalLink("other.mnc", "/minc-2.0/image/0/image")


def piped_partner(path):
    nib.save(nib.Nifti1Pair(VOXELS, AFFINE), path)
    path.with_suffix(".hdr").unlink()
    os.mkfifo(path.with_suffix(".hdr"))


def far_larger(path):
    """Write a gzip file that continues after the voxels."""
    nib.save(nib.Nifti1Image(VOXELS, AFFINE), path)
    path.write_bytes(path.read_bytes() + gzip.compress(bytes(2**24)) * 8)


def extensions(path, vox_offset=2.0**30 + 352, size=2**30):
    """Write extensions that declare a gigabyte, in a file that unpacks to one."""
    header = nib.Nifti1Header()
    header.set_data_shape((5, 4, 3))
    header["vox_offset"] = vox_offset
    start = header.binaryblock + b"\1\0\0\0" + struct.pack("<2i", size, 6)
    path.write_bytes(gzip.compress(start) + gzip.compress(bytes(2**24)) * 16)


def surface(path):
    path.write_text("<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'bb'>]><GIFTI>&b;</GIFTI>")


HOSTILE = {
    "qform no rotation": ("x.nii", lambda p: coded_scan(p, quatern_b=9), "qform is no rotation"),
    "qform NaN": ("x.nii", lambda p: coded_scan(p, quatern_c=np.nan), "qform is no rotation"),
    "qfac": ("x.nii", lambda p: coded_scan(p, pixdim=[-2, 1, 1, 1, 1, 1, 1, 1]), "pixdim[0] is -2"),
    "pixdim NaN": (
        "x.nii",
        lambda p: coded_scan(p, pixdim=[1, 1, np.nan, 1, 1, 1, 1, 1]),
        "a voxel size is",
    ),
    "last row": ("x.img", last_row_in_mat_file, "last row is not 0, 0, 0, 1"),
    "Analyze's pixdim": ("x.img", zero_pixdim, "a voxel size is zero"),
    "far away": ("x.nii", far_away, "lies 1e+300 mm from its origin"),
    "product over 2**63": ("x.mgz", overflowing_mgh, "is damaged or truncated (its"),
    "4-D MINC": ("x.mnc", four_minc, "is MINC of 4-D; convert"),
    "MINC elsewhere": ("x.mnc", linked_minc, "'image' is an external or soft link"),
    "more than declared": ("x.nii.gz", far_larger, "contains far more than the 472 bytes"),
    "extension too large": ("x.nii.gz", extensions, "extensions are damaged"),
    "extension of nothing": ("x.nii.gz", lambda p: extensions(p, 2e9, 0), "extensions are damaged"),
    "extensions without end": ("x.nii.gz", lambda p: extensions(p, 0, 16), "extensions are damag"),
    "extension of -1": ("x.nii.gz", lambda p: extensions(p, 1e6, 7), "extensions are damaged"),
    "surface": ("x.gii", surface, "is not an image of voxels"),
    "pipe": ("x.img", piped_partner, "x.hdr beside it is not a file"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(case, fast_model, tmp_path):
    name, write, fault = HOSTILE[case]
    if case == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    path, out = tmp_path / name, tmp_path / "out" / "mask.nii.gz"
    write(path)
    with limits(SECONDS, MEGABYTES), pytest.raises(InputError, match=re.escape(fault)) as raised:
        segment.segment_files(path, {"mask": out}, fast_model, volume=0)
    assert is_one_line(raised.value, path)
    assert not out.parent.exists()


def test_an_unusual_but_valid_qform_is_accepted(tmp_path):
    """Programs write 0 for pixdim[0], or leave numbers in a qform without a code."""
    coded_scan(tmp_path / "zero.nii", pixdim=[0, 0.7, 0.55, 3, 1, 1, 1, 1])
    coded_scan(tmp_path / "unused.nii", qform_code=0, quatern_b=9)
    for name in ("zero.nii", "unused.nii"):
        assert image.read_scan(tmp_path / name).shape == (40, 36, 5)
