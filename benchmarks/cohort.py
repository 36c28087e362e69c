"""Time a cohort of made-up scans, with one worker and with more: ``python benchmarks/cohort.py``.

Each is the whole command, from start to end, as users run it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib

from gmseg.datasets.phantom import make_phantom


def main():
    """Make the scans, segment them by every number of workers, print the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=50)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    choices = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans = [folder / f"t2s{number:03d}.nii.gz" for number in range(choices.scans)]
        for number, scan in enumerate(scans):
            nib.save(make_phantom(seed=20_000 + number, shape=(128, 128, 10)).image, scan)
        masks = {}
        for workers in choices.workers:
            out = folder / f"by{workers}"
            command = [
                sys.executable,
                "-m",
                "gmseg",
                "segment",
                *map(str, scans),
                "--out-dir",
                str(out),
                "--workers",
                str(workers),
            ]
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            took = time.perf_counter() - started
            print(f"{workers} workers: {took:.1f} s, {took / len(scans):.2f} s a scan", flush=True)
            masks[workers] = [file.read_bytes() for file in sorted(out.iterdir())]
        same = all(made == masks[choices.workers[0]] for made in masks.values())
        print("the masks are the same, byte for byte" if same else "THE MASKS DIFFER")


if __name__ == "__main__":
    main()
