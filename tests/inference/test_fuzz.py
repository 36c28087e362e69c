"""Damaged image files are refused in one line, or read for what they hold; nothing else."""

import collections
import dataclasses
import gzip
import os
import re
import shutil
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from limits import limits
from mutations import AFFINE, SHAPE, mutate, write_afni, write_minc2, write_originals
from orientations import ALL_48, ROTATION, a_scan

from gmseg import InputError, load_model
from gmseg.inference import segment
from gmseg.io import image, scan_reader

SECONDS, MEGABYTES = 20, 100
VOXELS = np.arange(60, dtype=np.int16).reshape(5, 4, 3)


def is_one_line(error, path) -> bool:
    """Return whether a message is one line that names the file and a remedy."""
    text = str(error)
    return len(text.splitlines()) == 1 and text.startswith(f"{path}: ") and "; " in text


def read_or_refused(path, read, *args, **kwargs):
    """Return what is read, or None where the file is refused in one line."""
    try:
        return read(*args, **kwargs)
    except InputError as error:
        message = error
    assert is_one_line(message, path), message
    return None


def load_with_nibabel(path):
    with warnings.catch_warnings(), nib.imageglobals.LoggingOutputSuppressor():
        warnings.simplefilter("ignore")
        return nib.load(path)


def same_affine(ours, theirs) -> bool:
    """Return whether affines are equal, in single precision where the format is not NIfTI."""
    if isinstance(theirs, nib.Nifti1Pair):
        return np.array_equal(ours.affine, theirs.affine)
    return np.allclose(ours.affine, theirs.affine, rtol=1e-6, atol=1e-6 * np.abs(ours.affine).max())


FORMATS = {
    "x.nii": (nib.Nifti1Image, "u1 i1 i2 u2 i4 u4 i8 u8 f4 f8 c8"),
    "x.nii.gz": (nib.Nifti1Image, "u1 i2 f4 f8"),
    "y.nii": (nib.Nifti2Image, "u1 i2 i8 f4 f8"),
    "x.img": (nib.AnalyzeImage, "u1 i2 i4 f4 f8"),
    "y.img": (nib.Nifti1Pair, "u1 i2 f4"),
    "x.mgh": (nib.MGHImage, "u1 i2 i4 f4"),
    "x.mgz": (nib.MGHImage, "u1 f4"),
}


def numbers(low, high):
    return st.floats(low, high) | st.sampled_from([0.0, -0.0, 1e-30, 1e30, np.nan, np.inf])


@st.composite
def files(draw):
    """Draw name, class, voxels, affine, slope, intercept and byte order of a file."""
    name = draw(st.sampled_from(sorted(FORMATS)))
    kind, dtypes = FORMATS[name]
    order = "<" if kind is nib.AnalyzeImage else draw(st.sampled_from("<>"))
    dtype = np.dtype(draw(st.sampled_from(dtypes.split()))).newbyteorder(order)
    longest = 4 if kind is nib.MGHImage else 5
    shape = draw(st.lists(st.integers(1, 6), min_size=2, max_size=longest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    data = rng.bytes(int(np.prod(shape)) * dtype.itemsize)  # any bits: NaN, infinity, subnormal
    data = np.frombuffer(data, dtype).reshape(shape)
    if draw(st.booleans()):
        data = rng.uniform(0, 100, shape).astype(dtype)
    ornt = ALL_48[draw(st.integers(0, 47))]
    sizes = [draw(st.floats(0.1, 6) if draw(st.booleans()) else numbers(1e-4, 100)) for _ in "xyz"]
    shear = draw(st.floats(-2, 2) | st.just(0.0))
    with np.errstate(all="ignore"):
        matrix = ROTATION @ np.diag(sizes)
        matrix[0] += shear * matrix[1]
        matrix = matrix[:, ornt[:, 0].astype(int)] * ornt[:, 1]
    affine = nib.affines.from_matvec(matrix, [draw(numbers(-500, 500)) for _ in "xyz"])
    slope, inter = draw(st.floats(-10, 10) | st.just(1.0)), draw(numbers(-100, 100))
    return name, kind, data, affine, slope, inter, order


def write(folder, name, kind, data, affine, slope, inter, order):
    """Write a drawn file with nibabel, or reject what nibabel cannot write."""
    header = None if kind is nib.MGHImage else kind.header_class(endianness=order)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            scan = kind(data, None if kind is nib.AnalyzeImage else affine, header)
            scan.set_data_dtype(data.dtype)
            if kind is nib.AnalyzeImage:
                scan.header.set_zooms([*np.abs(np.diag(affine))[:3], 1, 1][: data.ndim])
            nib.save(scan, folder / name)
    except Exception:
        reject()
    if isinstance(scan, nib.Nifti1Pair):  # after nibabel, which would scale the voxels itself
        file = (folder / name).with_suffix(".hdr") if name.endswith("img") else folder / name
        packed = name.endswith(".gz")
        content = bytearray(gzip.decompress(file.read_bytes()) if packed else file.read_bytes())
        at, code = (176, "d") if kind is nib.Nifti2Image else (112, "f")
        try:
            scaling = struct.pack(f"{order}2{code}", slope, inter)
        except OverflowError:
            reject()
        content[at : at + len(scaling)] = scaling
        file.write_bytes(gzip.compress(content) if packed else content)
    return folder / name


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(files(), st.booleans())
def test_voxels_and_affine_are_those_of_the_file(tmp_path_factory, drawn, mean):
    folder = tmp_path_factory.mktemp("drawn")
    path = write(folder, *drawn)
    scan = read_or_refused(path, image.read_scan, path, mean=mean)
    if scan is None:
        return
    theirs = load_with_nibabel(path)
    assert scan.shape == theirs.shape[:3]
    assert same_affine(scan, theirs)
    values = np.asarray(scan.dataobj)
    assert values.dtype == np.float32
    with np.errstate(all="ignore"):
        volumes = theirs.get_fdata(dtype=np.float32).reshape(*scan.shape, -1)
        average = volumes.mean(axis=-1, dtype=np.float64).astype(np.float32)
    if volumes.shape[-1] == 1:
        np.testing.assert_array_equal(values, volumes[..., 0])
    elif mean:
        np.testing.assert_array_equal(values, average)


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
        return (np.hypot(rows, columns) < 6) + 0 * windows

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
    "product over 2**63": ("x.mgz", overflowing_mgh, "is damaged or cut short (its"),
    "4-D MINC": ("x.mnc", four_minc, "is MINC of 4-D; convert"),
    "MINC elsewhere": ("x.mnc", linked_minc, "'image' is a link to somewhere else"),
    "more than declared": ("x.nii.gz", far_larger, "holds far more than the 472 bytes"),
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


def test_a_mask_that_compresses_well_is_accepted(tmp_path):
    mask = np.zeros((300, 300, 60), np.uint8)
    mask[150, 150, 30] = 1
    nib.save(nib.Nifti1Image(mask, np.diag([-0.5, 0.5, 5, 1])), tmp_path / "m.nii.bz2")
    assert mask.nbytes > 1032 * (tmp_path / "m.nii.bz2").stat().st_size
    assert np.asarray(image.read_segmentation(tmp_path / "m.nii.bz2").dataobj).sum() == 1


# Headers that declare 54 terabytes: SIDE ** 2 * SLICES * 2 bytes.
SIDE = SLICES = 30_000
SHIPPED = Path(nib.__file__).parent / "tests" / "data"  # nibabel may come without them


def change_content(path, start, new) -> None:
    """Overwrite bytes of a file, within its compression."""
    with nib.openers.ImageOpener(path) as opened:
        content = bytearray(opened.read())
    content[start : start + len(new)] = new
    with nib.openers.ImageOpener(path, "wb") as opened:
        opened.write(bytes(content))


def declare_nifti(path, kind=nib.Nifti1Image):
    nib.save(kind(VOXELS, AFFINE), path)
    start, code = (16, "<8q") if kind is nib.Nifti2Image else (40, "<8h")
    sizes = struct.pack(code, 3, SIDE, SIDE, SLICES, 1, 1, 1, 1)
    change_content(path.with_name(path.name.replace(".img", ".hdr")), start, sizes)


def declare_mgh(path):
    nib.save(nib.MGHImage(VOXELS, AFFINE), path)
    change_content(path, 4, struct.pack(">3i", SIDE, SIDE, SLICES))


def declare_afni(path):
    sizes = [SIDE, SIDE, SLICES, 0, 0]
    write_afni(path.parent, "x", np.zeros((4, 3, 2)), DATASET_DIMENSIONS=sizes)


def declare_minc2(path):
    write_minc2(path, np.zeros((4, 3, 2), np.uint8), (SLICES, SIDE, SIDE))


def declare_minc1(path):
    content = (SHIPPED / "tiny.mnc").read_bytes()
    path.write_bytes(content)
    change_content(path, content.index(b"\0\0\0\6xspace") + 12, struct.pack(">i", 2**31 - 1))


def declare_par(path):
    shipped = SHIPPED / "phantom_EPI_asc_CLEAR_2_1.PAR"
    path.write_text(shipped.read_text().replace("  64   64 ", " 64000000 64000000 "))
    path.with_suffix(".REC").write_bytes(shipped.with_suffix(".REC").read_bytes())


DECLARED = {
    "x.nii": declare_nifti,
    "x.nii.gz": declare_nifti,
    "x.nii.bz2": declare_nifti,
    "x.nii.zst": lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600)),
    "y.nii": lambda path: declare_nifti(path, nib.Nifti2Image),
    "y.nii.gz": lambda path: declare_nifti(path, nib.Nifti2Image),
    "x.img": lambda path: declare_nifti(path, nib.Nifti1Pair),
    "x.img.gz": lambda path: declare_nifti(path, nib.Nifti1Pair),
    "old.img": lambda path: declare_nifti(path, nib.AnalyzeImage),
    "x.mgh": declare_mgh,
    "x.mgz": declare_mgh,
    "x+orig.HEAD": declare_afni,
    "x.mnc": declare_minc2,
    "one.mnc": declare_minc1,
    "x.PAR": declare_par,
}
READ = """
import resource, sys
from gmseg import InputError
from gmseg.io import image
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**28,) * 2)
for path in sys.argv[1:]:
    try:
        print(path, "read", image.read_scan(path).shape)
    except InputError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_headers_that_declare_terabytes_are_refused_in_little_memory(tmp_path):
    paths = []
    for name, write in DECLARED.items():
        try:
            write(tmp_path / name)
        except FileNotFoundError:  # not shipped with nibabel
            continue
        paths.append(tmp_path / name)
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert len(lines) == len(paths)
    for path, line in zip(paths, lines, strict=True):
        assert is_one_line(line, path), line
        assert "memory" not in line  # refused before any is allocated


@pytest.mark.parametrize("name", ["x.nii.gz", "x.mgz", "x.nii.bz2"])
def test_a_short_compressed_file_is_refused_in_little_memory(name, tmp_path):
    """The declared size is one that gzip could hold, so only reading shows the damage."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2**15, (64, 64, 32)).astype(np.int16)
    kind = nib.MGHImage if name.endswith("mgz") else nib.Nifti1Image
    nib.save(kind(data, np.diag([-0.5, 0.5, 0.15, 1])), tmp_path / name)
    if name.endswith("mgz"):
        change_content(tmp_path / name, 12, struct.pack(">i", 16_000))
    else:
        change_content(tmp_path / name, 46, struct.pack("<h", 16_000))
    with limits(SECONDS, 20), pytest.raises(InputError, match=r"declares 1310\d+ bytes") as raised:
        image.read_scan(tmp_path / name)
    assert is_one_line(raised.value, tmp_path / name)
