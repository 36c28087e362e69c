"""Train the default model and the U-Net that teaches it; see README.md in this folder.

    python experiments/default_model/build.py SHARED_DATA PUBLISHED_WEIGHTS OUT

Every stage is kept in OUT, and the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from optimise import Recipe, loss_of, train
from pool import draw_batch, make_pool
from stream import Stream, paint
from tqdm import tqdm

import gmseg
from data import load_scans, load_sections
from gmseg.models.export import torch_state
from gmseg.models.torch_network import GrayMatterNetwork, UNet

PAINTED = 4000
POOL = 12288
WIDTHS = (32, 64, 128, 192)
TEACHER = Recipe(steps=4000)
STUDENT = Recipe(steps=5000, average=0.997, warmup=100)
LARGE_SHARE = 0.2
"""Last part of the student's training, in which its windows are as large as at inference."""
SMALL_WINDOWS, LARGE_WINDOWS = (80, 32), (128, 16)
"""Size of the student's windows, and their number in a batch."""


def soft_labels(data: Path, published: str, out: Path) -> list[Path]:
    """Write soft segmentations of the unlabelled second runs by the published network."""
    folders = []
    scans = sorted((data / "t2starw-multicentre").glob("sub-*/anat/*run-2_T2starw.nii.gz"))
    for standardise in ("volume", "training"):
        folder = out / standardise
        folder.mkdir(parents=True, exist_ok=True)
        for scan in tqdm(scans, desc=f"labels, {standardise}"):
            file = folder / scan.name.replace(".nii.gz", "_gmsoft.nii.gz")
            if not file.exists():
                result = gmseg.segment(scan, published, standardise=standardise)
                nib.save(result.soft, file)
        folders.append(folder)
    return folders


def load_torch(weights: str) -> GrayMatterNetwork:
    """Return a model of the 2017 release as a PyTorch module."""
    network = gmseg.load_network(gmseg.load_model(weights))
    module = GrayMatterNetwork()
    module.load_state_dict({key: torch.from_numpy(v) for key, v in torch_state(network).items()})
    return module.eval().to(memory_format=torch.channels_last)


def build(
    data: Path, published: str, out: Path, *, without: set[str], seed: int = 0, share: float = 1
) -> None:
    """Run all stages.

    Parameters
    ----------
    data : pathlib.Path
        Folder of the training data, see README.md.
    published : str
        The published model, or its weights file.
    out : pathlib.Path
        Folder of the results.
    without : set of str
        Subjects to leave out, for cross-validation.
    seed : int
        Seed of all draws.
    share : float
        Share of steps, painted sections and pool, below 1 for a quicker training.
    """
    torch.manual_seed(seed)
    recipes = (replace(recipe, steps=round(share * recipe.steps)) for recipe in (TEACHER, STUDENT))
    teaching, learning = recipes
    folders = soft_labels(data, published, out / "labels")
    scans = [scan for scan in load_scans(data, folders) if scan.subject not in without]
    facts = {"scans": [scan.name for scan in scans], "command": " ".join(sys.argv), "share": share}
    (out / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")
    painted, levels = _painted(
        data, scans, out / "painted.npz", without, seed, round(share * PAINTED)
    )

    stream = Stream(scans, painted, levels, size=96, batch=16, seed=seed)
    teacher = UNet(WIDTHS, dropout=0.0, batchnorm_momentum=0.95, outputs=2)
    weights = train(teacher, lambda step: stream.make(step)[:3], loss_of, teaching, out / "teacher")
    teacher.load_state_dict(weights)
    teacher = teacher.eval().to(memory_format=torch.channels_last)

    stream = Stream(scans, painted, levels, size=128, batch=32, seed=100 + seed)
    pool = make_pool(
        out / "pool", stream, load_torch(published), [teacher], 32 * round(share * POOL / 32)
    )

    def batch(step: int):
        small = step < learning.steps * (1 - LARGE_SHARE)
        size, count = SMALL_WINDOWS if small else LARGE_WINDOWS
        return draw_batch(pool, np.random.default_rng([seed, step]), size, count)

    student = GrayMatterNetwork(dropout=0.0, batchnorm_momentum=0.95, outputs=2)
    train(
        student,
        batch,
        lambda logits, target: loss_of(logits, target, squared=True),
        learning,
        out / "student",
        compiled=True,
    )


def _painted(data: Path, scans, file: Path, without: set[str], seed: int, count: int):
    """Return painted images and their levels; they are made once."""
    if not file.exists():
        sections = load_sections(data)
        keep = ~np.isin(sections.subjects, list(without))
        parts = (sections.gm, sections.wm, sections.texture, sections.subjects)
        sections = type(sections)(*(part[keep] for part in parts))
        painted, levels = paint(np.random.default_rng(seed), scans, sections, count)
        np.savez(file, painted=painted, levels=levels)
    with np.load(file) as content:
        return content["painted"], content["levels"]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the training data")
    parser.add_argument("published", help="the published model, or its weights file")
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--without", default="", help="subjects to leave out, with commas")
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws")
    parser.add_argument("--share", type=float, default=1, help="share of the steps, below 1")
    options = parser.parse_args()
    without = set(filter(None, options.without.split(",")))
    build(
        options.data,
        options.published,
        options.out,
        without=without,
        seed=options.seed,
        share=options.share,
    )


if __name__ == "__main__":
    main()
