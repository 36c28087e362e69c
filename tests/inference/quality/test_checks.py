"""Features are gathered from what was scanned, and the network is tried on variants."""

import dataclasses

import nibabel as nib
import numpy as np

from gmseg import load_model, segment
from gmseg.inference import segment as segmentation
from gmseg.inference.quality import checks
from gmseg.inference.quality.features import Features
from gmseg.inference.session import Session
from gmseg.io.scan_reader import open_scan


def test_gm_beyond_the_field_of_view_does_not_count():
    """Windows are larger than small fields of view."""
    voxels = np.random.default_rng(0).uniform(50, 90, (40, 36, 2)).astype(np.float32)
    scan = nib.Nifti1Image(voxels, np.diag([-0.5, 0.5, 5, 1]))
    session = Session(open_scan(scan), load_model(), np.zeros_like, "volume")
    assert session.geometry.shape == (80, 72, 2)
    centres = np.tile([40, 36], (2, 1))
    soft = np.zeros((2, 200, 200), np.float32)
    soft[:, 80:120, 110:] = 0.9  # the field of view ends at column 136 of the windows
    gathered = Features()
    checks.gather(gathered, session, (0, 2), soft, centres, centres.astype(float))
    assert gathered.count == 2
    assert np.count_nonzero(gathered.soft) == 40 * 26
    assert gathered.margin_mm == [18 - 0.25 * 36.5] * 2  # to the upper edge of the columns


def test_margin_is_measured_to_the_edge_of_what_was_scanned():
    """Zeros around the scan, as of a padded image, do not count as field of view."""
    voxels, affine = np.zeros((60, 60, 3), np.float32), np.diag([-0.5, 0.4, 5, 1])
    voxels[10:50, 20:60] = 1  # 5 to 25 mm, 8 to 24 mm
    line_mm = np.array([[15.0, 16.0], [6.0, 16.0], [15.0, 23.5]])
    np.testing.assert_allclose(checks._margins_mm(voxels, affine, line_mm), [8.0, 1.0, 0.5])
    narrow = voxels.copy()
    narrow[20:, :, 1] = 0  # this slice ends at 10 mm; its neighbours do not
    line_mm[1] = 6.0, 16.0
    np.testing.assert_allclose(checks._margins_mm(narrow, affine, line_mm), [8.0, 1.0, 0.5])
    line_mm[1] = 9.6, 16.0
    np.testing.assert_allclose(checks._margins_mm(narrow, affine, line_mm), [8.0, 0.4, 0.5])
    empty = np.zeros((9, 9, 1), np.float32)
    assert np.isnan(checks._margins_mm(empty, affine, np.array([[2.0, 2.0]]))).all()


def test_a_large_scan_without_cord_is_given_up_soon(monkeypatch):
    """The field of view is searched twice, and each variant of the scan in a few windows."""
    predicted = []

    def predict(windows):
        predicted.append(len(windows))
        return np.zeros((len(windows), 1, *windows.shape[1:]), np.float32)

    monkeypatch.setattr(segmentation, "load_predictor", lambda _: predict)
    model = dataclasses.replace(load_model(), window=128)
    noise = np.random.default_rng(0).uniform(0, 100, (400, 400, 4)).astype(np.float32)
    result = segment(nib.Nifti1Image(noise, np.diag([-0.5, 0.5, 5, 1])), model)
    assert result.summary.window == "not found"
    field = 11**2  # steps of 18 mm in 200 mm
    assert 2 * field <= sum(predicted) <= 2 * field + 250
