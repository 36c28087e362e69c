"""What the machine can multiply, and what a network must.

``arithmetic.py rate RESULT``: multiply-adds per second of a product of two matrices, single
precision. ``arithmetic.py counts RESULT KIND...``: multiply-adds of the default model's network on
one window or region, such as ``"window 200x200"``.
"""

import json
import math
import sys
import time
from pathlib import Path

SIZE, PRODUCTS = 2048, 5


def rate():
    """Return the best of several products: multiply-adds per second."""
    import numpy as np

    rng = np.random.default_rng(0)
    one, other = (rng.random((SIZE, SIZE), np.float32) for _ in range(2))
    one @ other  # starts its threads
    best = math.inf
    for _ in range(PRODUCTS):
        begin = time.perf_counter()
        one @ other
        best = min(best, time.perf_counter() - begin)
    return SIZE**3 / best


def counts(kinds):
    """Return the multiply-adds of one window, or one region, of each kind."""
    import gmseg
    from gmseg.models.factory import multiply_adds
    from gmseg.models.registry import load_part

    model = gmseg.load_model()
    network = gmseg.load_network(model)
    found = {}
    for kind in kinds:
        what, _, size = kind.rpartition(" ")
        rows, columns = map(int, size.split("x"))
        if what == "window":
            found[kind] = multiply_adds(network, rows, columns)
        else:
            found[kind] = by_layers(load_part(model, network))
    return found


def by_layers(network):
    """Count the multiply-adds of a network whose layers know their sizes."""
    import keras

    return sum(
        math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D)
    )


if __name__ == "__main__":
    what, result, *kinds = sys.argv[1:]
    told = {"rate": rate()} if what == "rate" else counts(kinds)
    Path(result).write_text(json.dumps(told), encoding="utf-8")
