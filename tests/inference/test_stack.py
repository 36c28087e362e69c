"""Images in memory or in a file: the same."""

import numpy as np
import pytest

from gmseg import InputError
from gmseg.inference import stack


@pytest.mark.parametrize("held", [True, False])
def test_what_is_put_is_got(held, monkeypatch):
    if not held:
        monkeypatch.setattr(stack, "HELD_BYTES", 100)
    images = np.random.default_rng(0).random((7, 5, 4)).astype(np.float32)
    kept = stack.Stack(7, (5, 4))
    kept.put(4, images[4:])
    kept.put(0, images[:4])
    assert kept.shape == (7, 5, 4)
    assert len(kept) == 7
    np.testing.assert_array_equal(kept.get(2, 6), images[2:6])
    np.testing.assert_array_equal(list(kept), images)
    kept.put(1, images[:2])
    np.testing.assert_array_equal(kept.get(0, 4), images[[0, 0, 1, 3]])


def test_too_little_room_is_said_before_anything_is_written(monkeypatch):
    with pytest.raises(InputError, match=r"GiB are needed for a while .* set TMPDIR"):
        stack.Stack(10**9, (2000, 2000))
