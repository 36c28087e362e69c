"""Damaged image files, made from valid ones; a number makes the same file again."""

import bz2
import gzip
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from orientations import ROTATION

SHAPE = (14, 12, 2)
AFFINE = nib.affines.from_matvec(ROTATION @ np.diag([-0.6, 0.7, 4.0]), [5, -30, 8])
_EXTREMES = (
    0,
    1,
    2,
    7,
    16,
    127,
    128,
    255,
    256,
    512,
    2**15 - 1,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-30, 0.5, 352.0, 1e10, 3e38, -3e38, np.nan, np.inf, -np.inf)


def write_originals(folder: Path) -> list[list[Path]]:
    """Write small scans in every format; return the files of each, the one to open first."""
    data = np.random.default_rng(0).uniform(1, 200, SHAPE)
    scaled = nib.Nifti1Image(data.astype(np.int16), AFFINE)
    scaled.header.set_slope_inter(0.5, 3)
    big = nib.Nifti1Image(data.astype(">f4"), AFFINE, nib.Nifti1Header(endianness=">"))
    plain = nib.Nifti1Image(data.astype(np.float32), AFFINE)
    noted = nib.Nifti1Image(data.astype(np.uint8), AFFINE)
    noted.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a note " * 9))
    qform = nib.Nifti1Image(data.astype(np.int16), None)
    qform.header.set_qform(AFFINE, 1)
    four = nib.Nifti1Image(np.stack([data, data + 1], -1).astype(np.uint8), AFFINE)
    images = {
        "plain.nii": plain,
        "scaled.nii": scaled,
        "big.nii": big,
        "noted.nii": noted,
        "qform.nii": nib.Nifti1Image(np.asarray(qform.dataobj), None, qform.header),
        "four.nii": four,
        "scaled.nii.gz": scaled,
        "noted.nii.gz": noted,
        "plain.nii.bz2": plain,
        "two.nii": nib.Nifti2Image(data.astype(np.float64), AFFINE),
        "pair.img": nib.Nifti1Pair(data.astype(np.int16), AFFINE),
        "packed.img.gz": nib.Nifti1Pair(data.astype(np.int16), AFFINE),
        "old.img": nib.AnalyzeImage(data.astype(np.int16), np.diag([-0.6, 0.7, 4, 1])),
        "spm.img": nib.Spm99AnalyzeImage(data.astype(np.int16), np.diag([-0.6, 0.7, 4, 1])),
        "surfer.mgh": nib.MGHImage(data.astype(np.float32), AFFINE),
        "surfer.mgz": nib.MGHImage(data.astype(np.uint8), AFFINE),
    }
    originals = []
    for name, image in images.items():
        nib.save(image, folder / name)
        stem = name.split(".")[0]
        partners = [folder / name.replace(".img", end) for end in (".hdr", ".mat")]
        others = [p for p in partners if ".img" in name and p.exists() and p.stem.startswith(stem)]
        originals.append([folder / name, *others])
    originals.append(write_afni(folder, "afni", data.astype(np.int16)))
    originals.append([write_minc2(folder / "minc2.mnc", data.astype(np.uint8))])
    shipped = Path(nib.__file__).parent / "tests" / "data"  # part of nibabel's wheel
    if (shipped / "tiny.mnc").exists():
        (folder / "tiny.mnc").write_bytes((shipped / "tiny.mnc").read_bytes())
        originals.append([folder / "tiny.mnc"])
    if (shipped / "phantom_EPI_asc_CLEAR_2_1.PAR").exists():
        text = (shipped / "phantom_EPI_asc_CLEAR_2_1.PAR").read_bytes()
        (folder / "philips.PAR").write_bytes(text.replace(b"  64   64 ", b"  16   16 "))
        (folder / "philips.REC").write_bytes(np.arange(27 * 16 * 16, dtype="<u2").tobytes())
        originals.append([folder / "philips.PAR", folder / "philips.REC"])
    return originals


def write_afni(folder: Path, name: str, data: np.ndarray, **changes) -> list[Path]:
    """Write a pair of AFNI files, which nibabel reads but does not write."""
    attributes = {
        "DATASET_DIMENSIONS": [*data.shape, 0, 0],
        "DATASET_RANK": [3, 1, 0, 0, 0, 0, 0, 0],
        "ORIENT_SPECIFIC": [0, 3, 4],
        "ORIGIN": [-5.0, -30.0, 8.0],
        "DELTA": [0.6, 0.7, 4.0],
        "IJK_TO_DICOM_REAL": [0.6, 0, 0, -5.0, 0, 0.7, 0, -30.0, 0, 0, 4.0, 8.0],
        "BRICK_TYPES": [1],
        "BRICK_FLOAT_FACS": [0.5],
        "BYTEORDER_STRING": "LSB_FIRST",
        "TYPESTRING": "3DIM_HEAD_ANAT",
        "SCENE_DATA": [0, 2, 0, -999, -999, -999, -999, -999],
    } | changes
    text = ""
    for key, value in attributes.items():
        if isinstance(value, str):
            kind, count, shown = "string", len(value) + 1, f"'{value}~"
        else:
            kind = "float" if any(isinstance(one, float) for one in value) else "integer"
            count, shown = len(value), " ".join(map(str, value))
        text += f"\ntype = {kind}-attribute\nname = {key}\ncount = {count}\n{shown}\n"
    head, brik = folder / f"{name}+orig.HEAD", folder / f"{name}+orig.BRIK"
    head.write_text(text)
    brik.write_bytes(np.asarray(data, "<i2").tobytes(order="F"))
    return [head, brik]


def write_minc2(path: Path, data: np.ndarray, shape=None) -> Path:
    """Write a MINC2 file; with `shape`, it declares more voxels than it stores."""
    with h5py.File(path, "w") as file:
        dimensions = file.create_group("minc-2.0/dimensions")
        for name, length, step in zip(
            ("zspace", "yspace", "xspace"), data.T.shape, (4.0, 0.7, -0.6), strict=True
        ):
            dimension = dimensions.create_dataset(name, data=0)
            dimension.attrs["start"], dimension.attrs["step"] = 1.0, step
            dimension.attrs["spacing"], dimension.attrs["length"] = np.bytes_("regular__"), length
        image = file.create_group("minc-2.0/image/0")
        if shape is None:
            voxels = image.create_dataset("image", data=data.T)
        else:
            voxels = image.create_dataset("image", shape, data.dtype, chunks=True, compression=9)
        voxels.attrs["dimorder"] = np.bytes_("zspace,yspace,xspace")
        voxels.attrs["valid_range"] = [0.0, 255.0]
        for name, value in (("image-max", 255.0), ("image-min", 0.0)):
            image.create_dataset(name, data=value)
    return path


def mutate(number: int, originals: list[list[Path]], folder: Path) -> Path:
    """Write a damaged copy of one of the originals; return the file to open."""
    rng = np.random.default_rng(number)
    files = originals[number % len(originals)]
    contents = {file.name: file.read_bytes() for file in files}
    chosen = files[rng.integers(len(files))].name
    compress, decompress = _compression(chosen)
    inside = rng.random() < 0.75  # else the compressed stream itself is damaged
    content = decompress(contents[chosen]) if inside else contents[chosen]
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        content = _OPERATIONS[rng.integers(len(_OPERATIONS))](content, rng, chosen)
    contents[chosen] = compress(content) if inside else content
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder / files[0].name


def _compression(name: str):
    """Return functions that compress and decompress a file of this name."""
    if name.endswith((".gz", ".mgz")):
        return lambda content: gzip.compress(content, 1, mtime=0), gzip.decompress
    if name.endswith(".bz2"):
        return bz2.compress, bz2.decompress
    return (lambda content: content), (lambda content: content)


def _position(content, rng, length: int = 1) -> int:
    """Choose a position, mostly in what is the header of most formats."""
    end = max(len(content) - length, 0)
    return int(rng.integers(min(end, 352) + 1 if rng.random() < 0.6 else end + 1))


def _flip_bits(content, rng, name):
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        if content:
            content[_position(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(content)


def _truncate(content, rng, name):
    return content[: rng.integers(len(content) + 1)]


def _insert(content, rng, name):
    at, length = _position(content, rng), int(rng.choice([1, 4, 16, 1000]))
    new = bytes(length) if rng.random() < 0.3 else rng.bytes(length)
    return content[:at] + new + content[at:]


def _remove(content, rng, name):
    at = _position(content, rng)
    return content[:at] + content[at + int(rng.choice([1, 4, 16, 1000])) :]


def _swap_bytes(content, rng, name):
    length = int(rng.choice([2, 4, 8]))
    at = _position(content, rng, length)
    return content[:at] + content[at : at + length][::-1] + content[at + length :]


def _repeat(content, rng, name):
    length = int(rng.choice([8, 64, 512]))
    at = _position(content, rng, length)
    block = content[at : at + length] * int(rng.integers(1, 9))
    rest = at if rng.random() < 0.5 else at + len(block)
    return content[:at] + block + content[rest:]


def _extreme(content, rng, name):
    length = int(rng.choice([1, 2, 4, 8]))
    at = _position(content, rng, length)
    value = _EXTREMES[rng.integers(len(_EXTREMES))] % 2 ** (8 * length)
    new = value.to_bytes(length, str(rng.choice(["little", "big"])))
    return content[:at] + new + content[at + length :]


def _header_field(content, rng, name):
    """Put an extreme value into a field of a NIfTI or Analyze header."""
    kind = nib.Nifti2Header if name == "two.nii" else nib.Nifti1Header
    if name.startswith(("old", "spm")):
        kind = nib.Spm99AnalyzeHeader
    dtype = kind.template_dtype.newbyteorder(">" if name == "big.nii" else "<")
    if len(content) < dtype.itemsize or name.endswith((".HEAD", ".PAR", ".mnc", ".mgh", ".mgz")):
        return _text_number(content, rng, name)
    header = np.frombuffer(content[: dtype.itemsize], dtype).copy()
    wanted = (
        "dim",
        "datatype",
        "bitpix",
        "vox_offset",
        "scl_slope",
        "scl_inter",
        "magic",
        "pixdim",
        "qform_code",
        "sform_code",
        "quatern_b",
        "srow_x",
        "srow_z",
        "xyzt_units",
        "sizeof_hdr",
    )
    fields = [field for field in wanted if field in dtype.names]
    values = header[fields[rng.integers(len(fields))]].reshape(-1)
    at = int(rng.integers(len(values)))
    if values.dtype.kind == "f":
        values[at] = _FLOATS[rng.integers(len(_FLOATS))]
    elif values.dtype.kind in "iu":
        bits = values.dtype.itemsize * 8
        wide = np.array([_EXTREMES[rng.integers(len(_EXTREMES))] % 2**bits], np.uint64)
        values[at] = wide.astype(f"u{bits // 8}").view(f"{values.dtype.kind}{bits // 8}")[0]
    else:
        values[at] = rng.bytes(values.dtype.itemsize)
    return header.tobytes() + content[dtype.itemsize :]


def _text_number(content, rng, name):
    """Replace a number in a text header; its length may change."""
    words = content.split(b" ")
    numbers = [i for i, word in enumerate(words) if word.strip().lstrip(b"-")[:1].isdigit()]
    if not numbers:
        return _extreme(content, rng, name)
    values = (b"0", b"-1", b"1e400", b"nan", b"99999999999", b"32767", b"x", b"1e-30", b"")
    words[numbers[rng.integers(len(numbers))]] = values[rng.integers(len(values))]
    return b" ".join(words)


_OPERATIONS = (
    _flip_bits,
    _flip_bits,
    _truncate,
    _insert,
    _remove,
    _swap_bytes,
    _repeat,
    _extreme,
    _header_field,
    _header_field,
    _header_field,
)
