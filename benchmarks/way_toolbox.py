"""The toolbox's way: ONNX Runtime, the whole volume at once: ``python way_toolbox.py SCAN MASK``.

As the Spinal Cord Toolbox does it since it runs exported networks, without all else that a command
of the toolbox loads.
"""

import functools
import sys

import numpy as np
import onnxruntime
import rivals

from gmseg.io.resources import bundled


@functools.cache
def load():
    """Return the default model's exported graph, ready to run, with the engine's own choices."""
    return onnxruntime.InferenceSession(bundled("models") / "default.onnx")


def predict(session, windows):
    """Run the network on all windows in one batch."""
    windows = np.ascontiguousarray(windows)[..., None]
    return session.run(["soft"], {"window": windows})[0][..., 0]


def job(scan, mask):
    """Segment a scan and write the mask."""
    rivals.segment(scan, mask, load(), predict)


if __name__ == "__main__":
    job(*sys.argv[1:])
