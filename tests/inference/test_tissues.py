"""GM, white matter and cord in one pass, from a network with two outputs."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest

from gmseg import InputError, load_model, segment
from gmseg.core import geometry
from gmseg.inference import segment as segmentation


def predict_discs(windows):
    """Return a disc of GM in a larger disc of cord in the middle of every window."""
    size = windows.shape[1]
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(rows, columns)
    discs = [np.clip((r - radius) / 4 + 0.5, 0, 1) for r in (10, 24)]
    return np.stack(discs).astype(np.float32)[None] + 0 * windows[:, None]


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(segmentation, "load_predictor", lambda _: predict_discs)
    card = load_model()
    return dataclasses.replace(card, network=card.network | {"outputs": 2}, window=128)


@pytest.fixture(scope="module")
def scan():
    voxels = np.random.default_rng(0).uniform(50, 100, (64, 70, 4)).astype(np.float32)
    return nib.Nifti1Image(voxels, np.diag([-0.5, 0.5, 5, 1]))


def arrays(result):
    kinds = [kind for kind in segmentation.TYPES if kind != "spread"]
    return {kind: np.asarray(getattr(result, kind).dataobj) for kind in kinds}


def test_masks_and_soft_segmentations_agree(scan, model):
    result = segment(scan, model)
    found = arrays(result)
    for kind, values in found.items():
        image = getattr(result, kind)
        assert values.dtype == segmentation.TYPES[kind]
        np.testing.assert_array_equal(image.affine, scan.affine)
    np.testing.assert_array_equal(found["cord"], found["cord_soft"] > 0.5)
    np.testing.assert_array_equal(found["wm"] + found["mask"], found["cord"])
    assert (found["wm"] & found["mask"]).sum() == 0
    np.testing.assert_allclose(found["wm_soft"] + found["soft"], found["cord_soft"], atol=1e-6)
    # discs with radii of 10 and 24 pixels of 0.25 mm
    areas = geometry.slice_areas_mm2(found["cord"], scan.affine)
    np.testing.assert_allclose(result.summary.cord_area_mm2, areas, atol=1e-3)
    np.testing.assert_allclose(areas, np.pi * 6**2, rtol=0.02)
    np.testing.assert_allclose(result.summary.area_mm2, np.pi * 2.5**2, rtol=0.05)


def test_files_are_those_of_the_python_function(scan, model, tmp_path):
    nib.save(scan, tmp_path / "t2s.nii.gz")
    kinds = [kind for kind in segmentation.TYPES if kind != "spread"]
    files = {kind: tmp_path / f"{kind}.nii.gz" for kind in kinds}
    summary = segmentation.segment_files(tmp_path / "t2s.nii.gz", files, model)
    expected = segment(scan, model)
    for kind, values in arrays(expected).items():
        np.testing.assert_array_equal(nib.load(files[kind]).dataobj, values)
    assert summary.cord_area_mm2 == expected.summary.cord_area_mm2


def test_a_model_without_cord_output_says_so(scan, tmp_path, monkeypatch):
    plain = dataclasses.replace(load_model(), network={"filters": 32})
    monkeypatch.setattr(segmentation, "load_predictor", lambda _: lambda w: predict_discs(w)[:, :1])
    result = segment(scan, plain)
    assert (result.cord, result.wm, result.wm_soft, result.cord_soft) == (None,) * 4
    assert result.summary.cord_area_mm2 is None
    nib.save(scan, tmp_path / "t2s.nii.gz")
    files = {"mask": tmp_path / "gm.nii.gz", "cord": tmp_path / "seg.nii.gz"}
    with pytest.raises(InputError, match="segments GM only; for WM and cord choose a model"):
        segmentation.segment_files(tmp_path / "t2s.nii.gz", files, plain)
    assert [file.name for file in tmp_path.iterdir()] == ["t2s.nii.gz"]
