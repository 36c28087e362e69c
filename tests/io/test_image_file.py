"""Files of every kind are read for what they hold; declared sizes take no memory."""

import gzip
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
from mutations import AFFINE, write_afni, write_minc2
from orientations import ALL_48, ROTATION
from refusals import is_one_line, load_with_nibabel, read_or_refused, same_affine

from gmseg import InputError
from gmseg.io import image

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
    nib.save(kind(np.ones((5, 4, 3), np.int16), AFFINE), path)
    start, code = (16, "<8q") if kind is nib.Nifti2Image else (40, "<8h")
    sizes = struct.pack(code, 3, SIDE, SIDE, SLICES, 1, 1, 1, 1)
    change_content(path.with_name(path.name.replace(".img", ".hdr")), start, sizes)


def declare_mgh(path):
    nib.save(nib.MGHImage(np.ones((5, 4, 3), np.int16), AFFINE), path)
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
    with (
        limits(20, megabytes=20),
        pytest.raises(InputError, match=r"declares 1310\d+ bytes") as raised,
    ):
        image.read_scan(tmp_path / name)
    assert is_one_line(raised.value, tmp_path / name)


def test_names_that_contradict_the_compression_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 3), np.int16), AFFINE), tmp_path / "a.nii")
    nib.save(nib.Nifti2Image(np.ones((4, 4, 3), np.int16), AFFINE), tmp_path / "two.nii")
    content = (tmp_path / "a.nii").read_bytes()
    for name, stored, remedy in (
        ("x.nii.gz", content, "is not compressed; rename it to x.nii"),
        ("x.NII.GZ", (tmp_path / "two.nii").read_bytes(), "is not compressed; rename it to x.NII"),
        ("x.nii", gzip.compress(content), "is compressed; rename it to x.nii.gz"),
        ("x.nii", b"/annex/objects/MD5E-s12", "its content is not here; run datalad get"),
        ("x.nii.gz", b"version https://git-lfs.github.com", "its content is not here; run git lfs"),
    ):
        (tmp_path / name).write_bytes(stored)
        with pytest.raises(InputError, match=remedy) as raised:
            image.read_scan(tmp_path / name)
        assert is_one_line(raised.value, tmp_path / name)


def test_upper_case_endings_are_read(tmp_path):
    data = np.arange(48, dtype=np.int16).reshape(4, 4, 3)
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "a.nii.gz")
    (tmp_path / "a.nii.gz").rename(tmp_path / "X.NII.GZ")
    np.testing.assert_array_equal(image.read_scan(tmp_path / "X.NII.GZ").dataobj, data)
