"""Train the fold models: the recipe of the default model without one subject each.

    python experiments/default_model/folds.py SHARED_DATA PUBLISHED_WEIGHTS OUT [FOLD ...]

Writes OUT/folds/FOLD with ``model`` (the paper's network) and ``unet``; a fold has the name of its
first subject. They are trained for 30 % of the steps of the default model, so their scores rather
understate it. Several folds may be trained at once, by one command each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from build import build
from ship import ship_default, ship_unet

FOLDS = (("9604",), ("9584",), ("10062",), ("9709", "spine-generic"))
"""Subjects that are left out together."""
SHARE = 0.3


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the training data")
    parser.add_argument("published", help="the published model, or its weights file")
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("folds", nargs="*", help="names of folds; all if there are none")
    options = parser.parse_args()
    labels = options.out / "labels"
    labels.mkdir(parents=True, exist_ok=True)
    for subjects in FOLDS:
        name = subjects[0]
        if options.folds and name not in options.folds:
            continue
        work, result = options.out / "work" / name, options.out / "folds" / name
        if (result / "model.json").exists():
            continue
        work.mkdir(parents=True, exist_ok=True)
        result.mkdir(parents=True, exist_ok=True)
        if not (work / "labels").exists():  # the same for all
            (work / "labels").symlink_to(labels.resolve())
        build(options.data, options.published, work, without=set(subjects), share=SHARE)
        ship_unet(work, result, "unet")
        ship_default(work, result, "model")


if __name__ == "__main__":
    main()
