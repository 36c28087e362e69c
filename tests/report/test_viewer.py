"""Viewer for notebooks, with and without ipyniivue."""

import base64
import re
import sys
import types

import nibabel as nib
import numpy as np
import pytest
from browsers import chromium
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


def test_browser_shows_some_slices_without_scripts_and_all_with_them(pair):
    bundle = viewer.SliceBrowser(*pair)._repr_mimebundle_()
    html = bundle["text/html"]
    assert html.count("<img") == 3
    assert re.findall(r'alt="(slice \d)"', html) == ["slice 0", "slice 1", "slice 2"]
    assert '<label style="display: none">' in html  # no slider without scripts
    assert 'max="2" value="1"' in html
    assert base64.b64decode(bundle["image/jpeg"])[:2] == b"\xff\xd8"
    assert bundle["image/jpeg"] in html
    scan = nib.Nifti1Image(np.zeros((8, 8, 12)), np.eye(4))
    mask = nib.Nifti1Image(np.zeros((8, 8, 12), np.uint8), np.eye(4))
    shown = viewer.SliceBrowser(scan, mask)._repr_mimebundle_()["text/html"]
    assert re.findall(r'alt="slice (\d+)" style="display: block"', shown) == ["2", "6", "10"]


def test_slider_moves_through_the_slices(pair, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(viewer.SliceBrowser(*pair)._repr_mimebundle_()["text/html"], encoding="utf-8")
    with chromium() as browser:
        page = browser.new_page()
        page.goto(file.as_uri())
        visible = "() => [...document.images].filter(i => i.offsetParent).map(i => i.alt)"
        assert page.evaluate(visible) == ["slice 1"]
        page.locator("input").press("ArrowRight")
        assert page.evaluate(visible) == ["slice 2"]
        assert page.locator("output").inner_text() == "2"
