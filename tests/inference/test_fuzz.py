"""Damaged image files: refused in one line, or read for what they are; never anything else."""

import collections
import gzip
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from limits import limits
from mutations import AFFINE, SHAPE, mutate, write_afni, write_minc2, write_originals
from orientations import ALL_48, ROTATION, a_scan

from gmseg import InputError
from gmseg.cli import main
from gmseg.inference import segment
from gmseg.io import image, scan_reader
from gmseg.io.resources import bundled
from gmseg.io.scan_reader import HELD_BYTES

SECONDS, MEGABYTES = 20, 100


def whole_line(error, path) -> bool:
    """Whether a message is one line that names the file and a remedy."""
    text = str(error)
    return len(text.splitlines()) == 1 and text.startswith(f"{path}: ") and "; " in text


def read_or_refused(path, read, *args, **kwargs):
    """Return what was read; None where it was refused, in one line and by nothing else."""
    try:
        return read(*args, **kwargs)
    except InputError as error:
        message = error
    assert whole_line(message, path), message
    return None


def said_by_nibabel(path):
    with warnings.catch_warnings(), nib.imageglobals.LoggingOutputSuppressor():
        warnings.simplefilter("ignore")
        return nib.load(path)


def same_affine(ours, theirs) -> bool:
    """NIfTI's affines are kept to the bit; what other formats have in double becomes single."""
    if isinstance(theirs, nib.Nifti1Pair):
        return np.array_equal(ours.affine, theirs.affine)
    return np.allclose(ours.affine, theirs.affine, rtol=1e-6, atol=1e-6 * np.abs(ours.affine).max())


# -------------------------------------------------------------------------- whole files

FORMATS = {
    "x.nii": (nib.Nifti1Image, "u1 i1 i2 u2 i4 u4 i8 u8 f4 f8 c8"),
    "x.nii.gz": (nib.Nifti1Image, "u1 i2 f4 f8"),
    "y.nii": (nib.Nifti2Image, "u1 i2 i8 f4 f8"),
    "x.img": (nib.AnalyzeImage, "u1 i2 i4 f4 f8"),
    "y.img": (nib.Nifti1Pair, "u1 i2 f4"),
    "x.mgh": (nib.MGHImage, "u1 i2 i4 f4"),
    "x.mgz": (nib.MGHImage, "u1 f4"),
}
ODD = [0.0, -0.0, 1e-30, 1e30, np.nan, np.inf]


def numbers(low, high):
    return st.floats(low, high) | st.sampled_from(ODD)


@st.composite
def files(draw):
    """Draw what is in a file: its name, voxels, affine, slope and intercept, byte order."""
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
    """Write it with nibabel, which will not write everything."""
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
def test_what_is_read_is_what_the_file_holds(tmp_path_factory, drawn, mean):
    folder = tmp_path_factory.mktemp("drawn")
    path = write(folder, *drawn)
    scan = read_or_refused(path, image.read_scan, path, mean=mean)
    if scan is None:
        return
    theirs = said_by_nibabel(path)
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


def test_a_whole_scan_of_every_format_is_read(tmp_path):
    for original in write_originals(tmp_path):
        scan = image.read_scan(original[0], volume=0)
        theirs = said_by_nibabel(original[0])
        assert scan.shape == theirs.shape[:3]
        assert same_affine(scan, theirs)


# ------------------------------------------------------------------------------ damaged files


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return write_originals(tmp_path_factory.mktemp("originals"))


@pytest.fixture
def fast(monkeypatch, tmp_path_factory):
    """The command with a network that sees a disc in the middle, and options parsed but once.

    Returns a model of small windows.
    """

    def predict(windows):
        size = windows.shape[1]
        rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
        return (np.hypot(rows, columns) < 6) + 0 * windows

    monkeypatch.setattr(segment, "load_predictor", lambda *_: predict)
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(bundled("models/default.weights.h5"), folder / "fast.weights.h5")
    card = json.loads(bundled("models/default.json").read_text())
    (folder / "fast.json").write_text(json.dumps(card | {"voxel_size_mm": 0.5, "window": 80}))
    return folder / "fast.json"


def run(path, out, model, capsys):
    """Run the command on a damaged file; return its exit code once all it left is as it should."""
    before = sorted(path.parent.iterdir())
    with limits(SECONDS, MEGABYTES):
        arguments = ["--model", model, "--volume", 0, "--soft", "--out-dir", out]
        code = main.run(["segment", *map(str, [path, *arguments])])
    _, err = capsys.readouterr()
    assert code in (0, 2), err
    if code == 2:
        [line] = err.splitlines()
        assert line.startswith("gmseg: error: ")
        assert whole_line(line.removeprefix("gmseg: error: "), path), line
        assert not out.exists()
    else:
        assert all(line.startswith(f"gmseg: warning: {path}: ") for line in err.splitlines()), err
        theirs = said_by_nibabel(path)
        written = sorted(out.iterdir())
        assert len(written) == 2
        for file in written:
            result = nib.load(file)
            assert result.shape == theirs.shape[:3]
            assert same_affine(result, theirs)
            assert np.isfinite(np.asarray(result.dataobj)).all()
    assert sorted(path.parent.iterdir()) == before
    return code


def read_as_masks(path, scan):
    """Read a damaged file as what a mask may be; an InputError of one line is all it may raise."""
    with limits(SECONDS, MEGABYTES):
        read_or_refused(path, image.read_mask, path, scan, what="mask")
        read_or_refused(path, image.read_segmentation, path)
        read_or_refused(path, image.read_segmentation, path, label=1)


def damage(begin, end, originals, model, tmp_path, capsys, monkeypatch) -> collections.Counter:
    """Try damaged files of these numbers; a failure names its number, to be run again."""
    codes = collections.Counter()
    scan = nib.Nifti1Image(np.ones(SHAPE, np.float32), AFFINE)
    for number in range(begin, end):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = mutate(number, originals, folder)
        # every third as large scans are: read from the file in parts
        monkeypatch.setattr(scan_reader, "HELD_BYTES", HELD_BYTES if number % 3 else 0)
        try:
            codes[run(path, tmp_path / "out", model, capsys)] += 1
            if number % 2:
                read_as_masks(path, scan)
        except BaseException as error:
            error.add_note(f"damaged file number {number}: see `mutations.mutate`")
            raise
        shutil.rmtree(folder)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    return codes


def test_300_damaged_files(originals, fast, tmp_path, capsys, monkeypatch):
    codes = damage(0, 300, originals, fast, tmp_path, capsys, monkeypatch)
    assert min(codes[0], codes[2]) > 50  # neither all refused nor all harmless


@pytest.mark.slow
def test_10000_damaged_files(originals, fast, tmp_path, capsys, monkeypatch):
    codes = damage(300, 10_300, originals, fast, tmp_path, capsys, monkeypatch)
    with capsys.disabled():
        print(f"\n{codes[0]} segmented, {codes[2]} refused")


# ------------------------------------------------- files that were found, or thought of


def header_bytes(path, **fields):
    """Change a NIfTI's header on disk, which nibabel would not write so."""
    content = bytearray(path.read_bytes())
    header = np.frombuffer(content[:348], nib.Nifti1Header.template_dtype).copy()[0]
    for field, value in fields.items():
        header[field] = value
    content[:348] = header.tobytes()
    path.write_bytes(content)


def two_forms(path, **fields):
    """A scan with a qform and a sform, its header then changed."""
    scan = a_scan()
    scan.set_qform(scan.affine, 1)
    scan.set_sform(scan.affine, 1)
    nib.save(scan, path)
    header_bytes(path, **fields)


def with_mat(path):
    scan = nib.Spm99AnalyzeImage(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.eye(4))
    nib.save(scan, path)
    mat = path.with_suffix(".mat")
    content = mat.read_bytes()
    at = content.rindex(struct.pack("<d", 1.0))
    mat.write_bytes(content[:at] + struct.pack("<d", 0.5) + content[at + 8 :])


def zero_pixdim(path):
    nib.save(nib.AnalyzeImage(np.arange(60, dtype=np.int16).reshape(5, 4, 3), None), path)
    header_bytes(path.with_suffix(".hdr"), pixdim=[1, 0, 1, 1, 0, 0, 0, 0])


def far_away(path):
    affine = AFFINE.copy()
    affine[2, 3] = 1e300
    nib.save(nib.Nifti2Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), affine), path)


def overflowing_mgh(path):
    nib.save(nib.MGHImage(np.ones((3, 3, 3), np.float32), np.eye(4)), path)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[4:20] = struct.pack(">4i", 2**16, 2**16, 2**16, 2**15 - 1)
    path.write_bytes(gzip.compress(content))


def four_minc(path):
    write_minc2(path, np.ones((4, 3, 2), np.uint8))
    import h5py

    with h5py.File(path, "r+") as file:
        group = file["minc-2.0/image/0"]
        del group["image"]
        data = np.arange(48, dtype=np.uint8).reshape(2, 2, 3, 4)
        voxels = group.create_dataset("image", data=data)
        voxels.attrs["dimorder"] = np.bytes_("time,zspace,yspace,xspace")
        time = file.create_dataset("minc-2.0/dimensions/time", data=0)
        time.attrs["spacing"] = np.bytes_("regular__")


def elsewhere_minc(path):
    import h5py

    write_minc2(path.with_name("other.mnc"), np.arange(24, dtype=np.uint8).reshape(4, 3, 2))
    write_minc2(path, np.ones((4, 3, 2), np.uint8))
    with h5py.File(path, "r+") as file:
        group = file["minc-2.0/image/0"]
        del group["image"]
        group["image"] = h5py.ExternalLink("other.mnc", "/minc-2.0/image/0/image")


def piped_partner(path):
    nib.save(nib.Nifti1Pair(np.arange(60, dtype=np.int16).reshape(5, 4, 3), AFFINE), path)
    path.with_suffix(".hdr").unlink()
    os.mkfifo(path.with_suffix(".hdr"))


def far_larger(path):
    """Gzip that goes on and on after the voxels."""
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), AFFINE), path)
    path.write_bytes(path.read_bytes() + gzip.compress(bytes(2**24)) * 8)


def extensions(path, vox_offset=2.0**30 + 352, size=2**30):
    """Extensions that declare to be a gigabyte, in a file that unpacks to one."""
    header = nib.Nifti1Header()
    header.set_data_shape((5, 4, 3))
    header["vox_offset"] = vox_offset
    start = header.binaryblock + b"\1\0\0\0" + struct.pack("<2i", size, 6)
    path.write_bytes(gzip.compress(start) + gzip.compress(bytes(2**24)) * 16)


def surface(path):
    path.write_text("<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'bb'>]><GIFTI>&b;</GIFTI>")


FOUND = {
    "qform no rotation": ("x.nii", lambda p: two_forms(p, quatern_b=9), "qform is no rotation"),
    "qform NaN": ("x.nii", lambda p: two_forms(p, quatern_c=np.nan), "qform is no rotation"),
    "qfac": ("x.nii", lambda p: two_forms(p, pixdim=[-2, 1, 1, 1, 1, 1, 1, 1]), "pixdim[0] is -2"),
    "pixdim NaN": (
        "x.nii",
        lambda p: two_forms(p, pixdim=[1, 1, np.nan, 1, 1, 1, 1, 1]),
        "a voxel size is",
    ),
    "last row": ("x.img", with_mat, "last row is not 0, 0, 0, 1"),
    "Analyze's pixdim": ("x.img", zero_pixdim, "a voxel size is zero"),
    "far away": ("x.nii", far_away, "lies 1e+300 mm from its origin"),
    "product over 2**63": ("x.mgz", overflowing_mgh, "is damaged or cut short (its"),
    "4-D MINC": ("x.mnc", four_minc, "is MINC of 4-D; convert"),
    "MINC elsewhere": ("x.mnc", elsewhere_minc, "'image' is a link to somewhere else"),
    "more than declared": ("x.nii.gz", far_larger, "holds far more than the 472 bytes"),
    "extension too large": ("x.nii.gz", extensions, "extensions are damaged"),
    "extension of nothing": ("x.nii.gz", lambda p: extensions(p, 2e9, 0), "extensions are damaged"),
    "extensions without end": ("x.nii.gz", lambda p: extensions(p, 0, 16), "extensions are damag"),
    "extension of -1": ("x.nii.gz", lambda p: extensions(p, 1e6, 7), "extensions are damaged"),
    "surface": ("x.gii", surface, "is not an image of voxels"),
    "pipe": ("x.img", piped_partner, "x.hdr beside it is not a file"),
}


@pytest.mark.parametrize("case", FOUND)
def test_files_that_were_found(case, fast, tmp_path, capsys):
    name, make, fault = FOUND[case]
    if case == "pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    path = tmp_path / "in" / name
    path.parent.mkdir()
    make(path)
    with limits(SECONDS, MEGABYTES):
        code = main.run(["segment", str(path), "--volume", "0", "--out-dir", str(tmp_path / "o")])
    [line] = capsys.readouterr().err.splitlines()
    assert code == 2
    assert line.startswith(f"gmseg: error: {path}: ")
    assert fault in line
    assert "; " in line
    assert not (tmp_path / "o").exists()


def test_an_odd_but_whole_qform_is_no_fault(tmp_path):
    """Other programs write 0 for pixdim[0], or leave a qform's numbers that no code points to."""
    two_forms(tmp_path / "zero.nii", pixdim=[0, 0.7, 0.55, 3, 1, 1, 1, 1])
    two_forms(tmp_path / "unused.nii", qform_code=0, quatern_b=9)
    for name in ("zero.nii", "unused.nii"):
        assert image.read_scan(tmp_path / name).shape == (40, 36, 5)


def test_a_mask_that_packs_well_is_no_bomb(tmp_path):
    mask = np.zeros((300, 300, 60), np.uint8)
    mask[150, 150, 30] = 1
    nib.save(nib.Nifti1Image(mask, np.diag([-0.5, 0.5, 5, 1])), tmp_path / "m.nii.bz2")
    assert mask.nbytes > 1032 * (tmp_path / "m.nii.bz2").stat().st_size
    assert np.asarray(image.read_segmentation(tmp_path / "m.nii.bz2").dataobj).sum() == 1


# ------------------------------------------------------------------------- declared terabytes

SIDE = 30_000  # of slices: SIDE ** 2 * SLICES * 2 bytes are 54 terabytes
SLICES = 30_000


def declare_nifti(path, kind=nib.Nifti1Image):
    nib.save(kind(np.arange(24, dtype=np.int16).reshape(4, 3, 2), AFFINE), path)
    file = path.with_name(path.name.replace(".img", ".hdr"))
    with nib.openers.Opener(file) as opened:
        content = bytearray(opened.read())
    at, code = (16, "<8q") if kind is nib.Nifti2Image else (40, "<8h")
    dim = struct.pack(code, 3, SIDE, SIDE, SLICES, 1, 1, 1, 1)
    content[at : at + len(dim)] = dim
    with nib.openers.Opener(file, "wb") as opened:
        opened.write(bytes(content))


def declare_mgh(path):
    nib.save(nib.MGHImage(np.arange(24, dtype=np.int16).reshape(4, 3, 2), AFFINE), path)
    with nib.openers.ImageOpener(path) as opened:
        content = bytearray(opened.read())
    content[4:16] = struct.pack(">3i", SIDE, SIDE, SLICES)
    with nib.openers.ImageOpener(path, "wb") as opened:
        opened.write(bytes(content))


def declare_afni(path):
    write_afni(
        path.parent,
        path.name.split("+")[0],
        np.zeros((4, 3, 2)),
        DATASET_DIMENSIONS=[SIDE, SIDE, SLICES, 0, 0],
    )


def declare_minc2(path):
    write_minc2(path, np.arange(24, dtype=np.uint8).reshape(4, 3, 2), (SLICES, SIDE, SIDE))


def declare_minc1(path):
    shipped = Path(nib.__file__).parent / "tests" / "data" / "tiny.mnc"
    content = shipped.read_bytes()
    at = content.index(b"\0\0\0\6xspace") + 12
    path.write_bytes(content[:at] + struct.pack(">i", 2**31 - 1) + content[at + 4 :])


def declare_par(path):
    shipped = Path(nib.__file__).parent / "tests" / "data" / "phantom_EPI_asc_CLEAR_2_1.PAR"
    path.write_text(re.sub(r"  64   64 ", r" 64000000 64000000 ", shipped.read_text()))
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
from gmseg import InputError, image
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
        except FileNotFoundError:  # nibabel may come without its own tests' files
            continue
        paths.append(tmp_path / name)
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    lines = done.stdout.splitlines()
    assert done.stderr == ""
    assert len(lines) == len(paths)
    for path, line in zip(paths, lines, strict=True):
        assert whole_line(line, path), line
        assert "memory" not in line  # it was refused before any was asked for


@pytest.mark.parametrize("name", ["x.nii.gz", "x.mgz", "x.nii.bz2"])
def test_no_memory_is_taken_for_what_a_short_file_declares(name, tmp_path):
    """Within what gzip could hold, so only reading shows that it does not."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2**15, (64, 64, 32)).astype(np.int16)
    kind = nib.MGHImage if name.endswith("mgz") else nib.Nifti1Image
    nib.save(kind(data, np.diag([-0.5, 0.5, 0.15, 1])), tmp_path / name)
    with nib.openers.ImageOpener(tmp_path / name) as opened:
        content = bytearray(opened.read())
    if name.endswith("mgz"):
        content[12:16] = struct.pack(">i", 16_000)
    else:
        content[46:48] = struct.pack("<h", 16_000)
    with nib.openers.ImageOpener(tmp_path / name, "wb") as opened:
        opened.write(bytes(content))
    with limits(SECONDS, 20), pytest.raises(InputError, match=r"declares 1310\d+ bytes") as raised:
        image.read_scan(tmp_path / name)
    assert whole_line(raised.value, tmp_path / name)
