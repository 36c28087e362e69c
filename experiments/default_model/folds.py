"""Train the fold models: the recipe of the default model without one subject each.

    python experiments/default_model/folds.py SHARED_DATA PUBLISHED_WEIGHTS OUT

Writes OUT/folds/SUBJECT with ``model`` (the paper's network) and ``unet``. They are trained for
40 % of the steps of the default model, so their scores rather understate it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from build import build
from ship import ship_default, ship_unet

SUBJECTS = ("9604", "9584", "10062", "9709", "spine-generic")
SHARE = 0.4


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the training data")
    parser.add_argument("published", help="the published model, or its weights file")
    parser.add_argument("out", type=Path, help="folder of the results")
    options = parser.parse_args()
    labels = options.out / "labels"
    labels.mkdir(parents=True, exist_ok=True)
    for subject in SUBJECTS:
        work, result = options.out / "work" / subject, options.out / "folds" / subject
        if (result / "model.json").exists():
            continue
        work.mkdir(parents=True, exist_ok=True)
        result.mkdir(parents=True, exist_ok=True)
        if not (work / "labels").exists():  # the same for all
            (work / "labels").symlink_to(labels.resolve())
        build(options.data, options.published, work, without={subject}, share=SHARE)
        ship_unet(work, result, "unet")
        ship_default(work, result, "model")


if __name__ == "__main__":
    main()
