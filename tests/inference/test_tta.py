"""Test-time augmentation: seeded, and the same in any order."""

import numpy as np
import pytest

from gmseg import segment
from gmseg.datasets.phantom import make_phantom
from gmseg.inference import tta


def test_copies_depend_on_seed_and_number_alone():
    assert tta.changes(3, 5) == tta.changes(8, 5)[:3]
    assert tta.changes(4, 5) != tta.changes(4, 6)
    assert tta.changes(1, 0) == [tta.Change()]
    assert [copy.flip for copy in tta.changes(4, 0)] == [False, True, False, True]


@pytest.mark.parametrize(
    "change",
    [tta.Change(flip=True), tta.Change(turn_deg=4.0), tta.Change(True, -5.0, 1.05, 1.1, 0.1)],
)
def test_what_is_changed_is_brought_back(change):
    rows, columns = np.mgrid[:80, :80]
    windows = np.exp(-((rows - 45) ** 2 + (columns - 30) ** 2) / 100)[None].astype(np.float32)
    seen = []

    def predict(batch):
        seen.append(batch)
        return (batch - change.shift) / change.gain

    back = tta.predict_changed(predict, windows, change)
    np.testing.assert_allclose(back, windows, atol=0.01)
    assert np.abs(seen[0] - windows).max() > 0.05


def test_the_mean_and_the_spread_of_a_scan():
    made = make_phantom(seed=5, spacing_mm=(0.6, 0.5, 5.0), shape=(90, 110, 2))
    plain, again, other = (segment(made.image, tta=n, seed=s) for n, s in ((0, 0), (3, 1), (3, 2)))
    assert plain.spread is None
    assert (again.summary.tta, again.summary.seed) == (3, 1)
    spread, soft = (np.asarray(image.dataobj) for image in (again.spread, again.soft))
    assert 0 < spread.max() <= 0.5
    assert np.abs(soft - np.asarray(plain.soft.dataobj)).max() > 0.01
    assert not np.array_equal(soft, other.soft.dataobj)
    # one slice by itself, standardised by itself, is near to what it was among others
    alone = segment(made.image.slicer[..., :1], tta=3, seed=1)
    np.testing.assert_allclose(alone.soft.dataobj, soft[..., :1], atol=0.1)
    repeated = segment(made.image, tta=3, seed=1)
    np.testing.assert_array_equal(repeated.soft.dataobj, soft)
