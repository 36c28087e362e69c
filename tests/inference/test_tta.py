"""Test-time augmentation: seeded, and independent of the order of the slices."""

import numpy as np
import pytest

from gmseg import segment
from gmseg.datasets.phantom import make_phantom
from gmseg.inference import tta


def test_transforms_depend_on_seed_and_number_alone():
    assert tta.random_transforms(3, 5) == tta.random_transforms(8, 5)[:3]
    assert tta.random_transforms(4, 5) != tta.random_transforms(4, 6)
    assert tta.random_transforms(1, 0) == [tta.Transform()]
    flips = [transform.flip for transform in tta.random_transforms(4, 0)]
    assert flips == [False, True, False, True]


@pytest.mark.parametrize(
    "transform",
    [
        tta.Transform(flip=True),
        tta.Transform(rotation_deg=4.0),
        tta.Transform(True, -5.0, 1.05, 1.1, 0.1),
    ],
)
def test_predictions_are_transformed_back(transform):
    rows, columns = np.mgrid[:80, :80]
    windows = np.exp(-((rows - 45) ** 2 + (columns - 30) ** 2) / 100)[None].astype(np.float32)
    batches = []

    def predict(batch):
        batches.append(batch)
        return (batch[:, None] - transform.shift) / transform.gain

    back = tta.predict_transformed(predict, windows, transform)
    np.testing.assert_allclose(back[:, 0], windows, atol=0.01)
    assert np.abs(batches[0] - windows).max() > 0.05


def test_mean_and_spread_of_a_scan():
    scan = make_phantom(seed=5, spacing_mm=(0.6, 0.5, 5.0), shape=(90, 110, 2)).image
    plain, averaged, other = (segment(scan, tta=n, seed=s) for n, s in ((0, 0), (2, 1), (2, 2)))
    assert plain.spread is None
    assert (averaged.summary.tta, averaged.summary.seed) == (2, 1)
    spread, soft = (np.asarray(image.dataobj) for image in (averaged.spread, averaged.soft))
    assert 0 < spread.max() <= 0.5
    assert np.abs(soft - np.asarray(plain.soft.dataobj)).max() > 0.01
    assert not np.array_equal(soft, other.soft.dataobj)
    np.testing.assert_array_equal(segment(scan, tta=2, seed=1).soft.dataobj, soft)
    # a slice alone has the same transforms; only its standardisation differs
    alone = segment(scan.slicer[..., :1], tta=2, seed=1)
    np.testing.assert_allclose(alone.soft.dataobj, soft[..., :1], atol=0.1)
