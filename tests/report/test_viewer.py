"""Viewer for notebooks, with and without ipyniivue."""

import sys
import types

import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure

from gmseg.report import viewer


@pytest.fixture
def pair():
    affine = np.array([[0, -0.5, 0, 10], [0.4, 0, 0, -20], [0, 0, -5, 30], [0, 0, 0, 1.0]])
    scan = np.random.default_rng(0).normal(100, 20, (24, 20, 3))
    mask = np.zeros(scan.shape, np.uint8)
    mask[8:12, 8:12] = 1
    return nib.Nifti1Image(scan, affine), nib.Nifti1Image(mask, affine)


def test_without_ipyniivue_it_is_a_figure(pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    shown = viewer.view(*pair, title="my scan")
    assert isinstance(shown, Figure)
    assert "my scan" in [text.get_text() for text in shown.texts]


def test_viewer_gets_scan_and_mask_with_their_affines(pair, monkeypatch):
    class NiiVue:
        def load_volumes(self, volumes):
            self.volumes = volumes

    module = types.ModuleType("ipyniivue")
    module.NiiVue = NiiVue
    monkeypatch.setitem(sys.modules, "ipyniivue", module)
    shown = viewer.view(*pair)
    for given, volume in zip(pair, shown.volumes, strict=True):
        arrived = nib.Nifti1Image.from_bytes(volume["data"])
        np.testing.assert_allclose(arrived.affine, given.affine, atol=1e-5)
        np.testing.assert_allclose(arrived.dataobj, given.dataobj, rtol=1e-6)
        assert arrived.get_data_dtype() in (np.float32, np.uint8)
