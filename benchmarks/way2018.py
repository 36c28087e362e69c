"""The way of 2018: Keras on TensorFlow, whole windows: ``python way2018.py SCAN MASK``."""

import functools
import sys

import numpy as np
import rivals

import gmseg

BATCH = 8  # the first version of the toolbox's command took so many


@functools.cache
def load():
    """Return the default model's network; TensorFlow starts quietly, with its fast kernels."""
    return gmseg.load_network(gmseg.load_model())


def predict(network, windows):
    """Run the network on whole windows."""
    windows = np.ascontiguousarray(windows)[..., None]
    return network.predict(windows, batch_size=BATCH, verbose=0)[..., 0]


def job(scan, mask):
    """Segment a scan and write the mask."""
    rivals.segment(scan, mask, load(), predict)


if __name__ == "__main__":
    job(*sys.argv[1:])
