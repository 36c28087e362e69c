"""Time the stages of a segmentation: python benchmarks/stages.py [SCAN] [--repeats N].

Prints the median of each stage in seconds, on this machine. Nothing else should be running.
"""

import argparse
import statistics
import time

import numpy as np

from gmseg import image, pipeline, pretrained
from gmseg.bundled import bundled


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", nargs="?", default=bundled("data/sample/phantom_t2s.nii.gz"))
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    times = {}

    def timed(stage, function, *args, **kwargs):
        started = time.perf_counter()
        result = function(*args, **kwargs)
        times.setdefault(stage, []).append(time.perf_counter() - started)
        return result

    model = timed("read the card, verify the weights", pretrained.load_model)
    predict = timed("load the network (Keras included)", pretrained.load_predictor, model)
    for _ in range(arguments.repeats):
        scan = timed("read the scan", image.read_scan, arguments.scan)
        ready = timed("resample, cut, standardise", pipeline.prepare, scan, model)
        soft = timed("network", pipeline.predict_windows, predict, ready.windows)
        timed("paste, resample back", pipeline.soft_on_scan, soft, ready)
    slices = len(ready.windows)
    for stage, seconds in times.items():
        print(f"{stage:36} {statistics.median(seconds):8.3f} s")
    # 4.97 G multiply-adds per window of the paper's network
    rate = 2 * 4.97 * slices / statistics.median(times["network"])
    print(f"{slices} slices, {np.median(times['network']) / slices:.3f} s each, {rate:.0f} GFLOP/s")


if __name__ == "__main__":
    main()
