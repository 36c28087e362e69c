"""A pool of augmented windows with the labels and the teachers' answers, on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from stream import Stream
from torch import nn
from tqdm import tqdm

from data import WINDOW

BATCH = 32
KINDS = {"window": np.float16, **dict.fromkeys(("gm", "cord", "label_gm", "label_cord"), np.uint8)}
"""Arrays of a pool; soft values from 0 to 1 are stored as 0 to 255."""


def make_pool(
    folder: Path, stream: Stream, published: nn.Module, teachers: Sequence[nn.Module], count: int
) -> dict[str, np.ndarray]:
    """Write a pool, or go on with one, and return its arrays, (count, WINDOW, WINDOW).

    Parameters
    ----------
    folder : pathlib.Path
        Folder of the pool.
    stream : Stream
        Source of batches of 32 windows of 128 x 128.
    published : torch.nn.Module
        The published network: answers for GM.
    teachers : sequence of torch.nn.Module
        U-Nets: answers for GM and cord.
    count : int
        Number of windows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = folder / "done.txt"
    done = int(progress.read_text()) if progress.exists() else 0
    shape = (count, WINDOW, WINDOW)
    pool = {
        kind: np.lib.format.open_memmap(
            folder / f"{kind}.npy", "r+" if done else "w+", dtype=dtype, shape=shape
        )
        for kind, dtype in KINDS.items()
    }
    steps = range(done // BATCH, count // BATCH)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for step in tqdm(steps, desc=folder.name, unit="batch"):
            place = slice(step * BATCH, (step + 1) * BATCH)
            for kind, values in _answers(stream, step, published, teachers).items():
                pool[kind][place] = values
            if step % BATCH == BATCH - 1:
                progress.write_text(str((step + 1) * BATCH))
    progress.write_text(str(count))
    return pool


def _answers(stream: Stream, step: int, published, teachers) -> dict[str, np.ndarray]:
    """Return the windows of one batch with answers and labels."""
    windows, targets, known, kinds = stream.make(step)
    inputs = windows.contiguous(memory_format=torch.channels_last)
    by_published = torch.sigmoid(published.forward_logits(inputs).float())[:, 0]
    by_teachers = torch.stack(
        [torch.sigmoid(teacher.forward_logits(inputs).float()) for teacher in teachers]
    ).mean(dim=0)
    gm = average_of(by_published, by_teachers[:, 0], [kind != "painted" for kind in kinds])
    found = {"window": windows[:, 0].numpy(), "gm": _bytes(gm), "cord": _bytes(by_teachers[:, 1])}
    drawn = torch.tensor([kind != "unlabelled" for kind in kinds])
    for channel, name in enumerate(("gm", "cord")):
        use = known[:, channel, 0, 0] > 0
        if name == "gm":  # automatic labels add nothing to the teachers' answers
            use &= drawn
        label = _bytes(targets[:, channel])
        label[~use.numpy()] = found[name][~use.numpy()]
        found[f"label_{name}"] = label
    return found


def average_of(published: torch.Tensor, teachers: torch.Tensor, real: Sequence[bool]):
    """Return the average of two answers for GM; where they disagree, the teachers count more.

    The published network has not seen images in which CSF is as bright as white matter, and
    loses GM there. With a Dice of 0.9 or more between the two each counts half, below 0.7 only
    the teachers do; so it is on painted images.

    Parameters
    ----------
    published, teachers : torch.Tensor
        (n, rows, columns), 0 to 1.
    real : sequence of bool
        Which windows are not painted.
    """
    both = 2 * (published * teachers).sum(dim=(1, 2)) + 20
    sizes = (published**2).sum(dim=(1, 2)) + (teachers**2).sum(dim=(1, 2)) + 20
    weight = 0.5 * ((both / sizes - 0.7) / 0.2).clamp(0, 1) * torch.tensor(real).float()
    weight = weight[:, None, None]
    return weight * published + (1 - weight) * teachers


def _bytes(values: torch.Tensor) -> np.ndarray:
    return (values * 255).round().clamp(0, 255).to(torch.uint8).numpy()


def draw_batch(
    pool: dict[str, np.ndarray], rng: np.random.Generator, size: int, batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return windows (batch, 1, size, size) and targets (batch, 2, size, size) from a pool.

    The target is the mean of label and teachers' answer.
    """
    chosen = np.sort(rng.choice(len(pool["window"]), batch, replace=False))
    margin = (WINDOW - size) // 2
    reach = min(margin, 12)
    rows, columns = (margin + rng.integers(-reach, reach + 1, batch) for _ in range(2))
    flips = rng.random(batch) < 0.5
    windows = np.empty((batch, size, size), np.float32)
    targets = np.empty((batch, 2, size, size), np.float32)
    for i, k in enumerate(chosen):
        part = (k, slice(rows[i], rows[i] + size), slice(columns[i], columns[i] + size))
        found = [pool["window"][part].astype(np.float32)]
        for kind in ("gm", "cord"):
            sums = pool[kind][part].astype(np.float32) + pool[f"label_{kind}"][part]
            found.append(sums / 510)
        windows[i], targets[i, 0], targets[i, 1] = (v[::-1] if flips[i] else v for v in found)
    gain = np.exp(rng.normal(0, 0.06, (batch, 1, 1)))
    windows = windows * gain + rng.normal(0, 0.06, (batch, 1, 1))
    return torch.from_numpy(windows.astype(np.float32))[:, None], torch.from_numpy(targets)
