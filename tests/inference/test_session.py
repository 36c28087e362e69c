"""Scans of any size: the same results in parts, in bounded memory, and no incomplete file."""

import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from gmseg import InputError, load_model, segment
from gmseg.datasets.phantom import make_phantom
from gmseg.inference import session
from gmseg.inference.segment import segment_files
from gmseg.io import scan_reader


@pytest.fixture(scope="module")
def scan():
    return make_phantom(seed=5, spacing_mm=(0.6, 0.5, 5.0), shape=(90, 110, 7)).image


@pytest.fixture
def small_limits(monkeypatch):
    """Treat every scan as a large one, in slabs of 4 slices."""
    for module in (scan_reader, session):
        monkeypatch.setattr(module, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(scan_reader, "_SLAB_BYTES", 3_000_000)


@pytest.mark.parametrize(("ending", "downwards"), [(".nii", False), (".nii.gz", True)])
def test_a_scan_read_in_parts_gives_the_same_files(
    scan, tmp_path, ending, downwards, small_limits, monkeypatch
):
    stored = scan.slicer[..., ::-1] if downwards else scan
    file = tmp_path / f"scan{ending}"
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj).astype(np.int16), stored.affine), file)
    names = ("mask.nii.gz", "soft.nii.gz", "spread.nii.gz")
    summaries, outputs = [], []
    for folder, in_memory in (("parts", False), ("whole", True)):
        if in_memory:
            monkeypatch.undo()
        assert scan_reader.open_scan(file).in_memory == in_memory
        files = {name.split(".")[0]: tmp_path / folder / name for name in names}
        summaries.append(replace(segment_files(file, files, tta=2), seconds=0))
        outputs.append([gzip.decompress(path.read_bytes()) for path in files.values()])
    assert outputs[0] == outputs[1]
    assert summaries[0] == summaries[1]
    assert summaries[0].volume_mm3 > 0


def test_slabs_of_a_scan(scan, small_limits):
    opened = session.Session(scan_reader.open_scan(scan), load_model(), np.zeros_like, "volume")
    assert opened.slabs == [(0, 4), (4, 7)]


@pytest.mark.parametrize("in_parts", [False, True])
def test_an_interruption_leaves_neither_files_nor_folders(scan, tmp_path, in_parts, request):
    if in_parts:
        request.getfixturevalue("small_limits")
    file = tmp_path / "scan.nii.gz"
    nib.save(scan, file)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment_files(file, {"mask": tmp_path / "a/b/mask.nii.gz"}, progress=interrupt)
    assert list(tmp_path.iterdir()) == [file]


def test_progress_counts_all_slices(scan, tmp_path, small_limits):
    nib.save(scan, tmp_path / "scan.nii.gz")
    reports = []
    segment_files(
        tmp_path / "scan.nii.gz",
        {"mask": tmp_path / "mask.nii.gz"},
        centre="image",
        progress=lambda *counts: reports.append(counts),
    )
    assert reports == [(4, 7), (7, 7)]


def test_a_long_scan_is_localised_on_some_slices(scan, monkeypatch):
    on_all = segment(scan)
    monkeypatch.setattr(session, "_THINNED_SLICES", 3)
    on_some = segment(scan)
    np.testing.assert_allclose(on_some.summary.area_mm2, on_all.summary.area_mm2, rtol=0.05)
    np.testing.assert_array_equal(on_some.mask.affine, scan.affine)


@pytest.mark.parametrize("limit", [10, 10_000])
def test_arrays_over_the_limit_are_mapped_to_a_file_without_a_name(limit, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(session.tempfile, "tempdir", str(tmp_path))
    array = session.allocate((7, 5, 4))
    assert isinstance(array, np.memmap) == (limit == 10)
    assert array.dtype == np.float32
    assert not array.any()
    values = np.random.default_rng(0).random(array.shape, np.float32)
    array[4:] = values[4:]
    array[:4] = values[:4]
    np.testing.assert_array_equal(array[2:6], values[2:6])
    assert not list(tmp_path.iterdir())


def test_too_small_a_disk_is_refused():
    with pytest.raises(InputError, match=r"GiB are needed for a while .*; set TMPDIR"):
        session.allocate((10**9, 2000, 2000))
