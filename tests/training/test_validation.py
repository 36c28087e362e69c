"""Validation: mean Dice over raters and scans, and calibration of areas."""

import numpy as np
import pytest
from scipy import ndimage

from gmseg import load_model
from gmseg.core import pipeline, windows
from gmseg.core.resampling import to_working_grid
from gmseg.datasets.folders import find_scans
from gmseg.datasets.labelled import read_labelled
from gmseg.datasets.phantom import make_phantom, write_challenge
from gmseg.evaluation import metrics
from gmseg.inference.engines import load_predictor
from gmseg.io.image import check_scan
from gmseg.models.registry import load_network
from gmseg.training import validation


def test_the_shift_corrects_areas():
    phantom = make_phantom(seed=3, spacing_mm=(0.5, 0.5, 5), shape=(110, 110, 2))
    gm = np.asarray(phantom.mask.dataobj) == 1
    scan = check_scan(phantom.image, name="phantom")
    ready = pipeline.prepare(scan, load_model(), cord=gm)
    case = validation.Case(ready, [gm], 2)
    soft_reference = windows.cut(
        to_working_grid(gm.astype(np.float32), scan.affine).data, ready.centres, 200
    )
    logits = 8 * (ndimage.gaussian_filter(soft_reference, (0, 1, 1)) - 0.5)
    for wrong in (1.5, -1.0, 0.0):
        soft = 1 / (1 + np.exp(-(logits + wrong)))
        assert validation.logit_shift([case], [soft]) == pytest.approx(wrong, abs=0.35)
        mask = pipeline.restore(soft, ready.centres, ready.grid) > 0.5
        assert (wrong == 0) or abs(mask.sum() / gm.sum() - 1) > 0.1
    assert validation.logit_shift([case], [np.zeros_like(soft_reference)]) == 0
    assert validation.logit_shift([], []) == 0


def test_dice_is_averaged_over_raters_then_scans(tmp_path):
    write_challenge(tmp_path, subjects=1, sites=2, raters=2, shape=(64, 64, 1))
    model, scans = load_model(), find_scans(tmp_path)
    expected = []
    for item in scans:
        scan, raters = read_labelled(item)
        ready = pipeline.prepare(scan, model, cord=raters[0] | raters[1])
        soft = pipeline.predict_windows(load_predictor(model), ready.windows)[:, 0]
        mask = pipeline.restore(soft, ready.centres, ready.grid) > 0.5
        expected.append(np.mean([metrics.dice(mask, rater) for rater in raters]))
    found = validation.mean_dice(load_network(model), validation.read_cases(scans, model))
    assert found == pytest.approx(np.mean(expected), abs=1e-4)
    assert 0.5 < found < 1
    assert np.isnan(validation.mean_dice(load_network(model), []))


def test_the_shift_leaves_the_cord_alone(monkeypatch):
    network = load_network(load_model())
    bias = network.get_layer("logits").bias
    gm, cord = np.asarray(bias)
    monkeypatch.setattr(validation, "logit_shift", lambda *_: 0.5)
    assert validation.calibrate(network, []) == 0.5
    np.testing.assert_allclose(np.asarray(bias), [gm - 0.5, cord], atol=1e-6)
