"""Train a PyTorch network: AdamW, polynomial decay, gradient clipping, a moving average of weights.

Checkpoints are written every few minutes; the same call goes on from the last one.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

WEIGHTS = (0.7, 0.3)
"""Weights of GM and cord in the loss."""
_DECAY_POWER = 0.9
_EVERY = 50  # steps between two lines of the log
_CHECKPOINT_STEPS = 200


@dataclass(frozen=True)
class Recipe:
    """Settings of a training.

    Attributes
    ----------
    steps : int
        Number of batches.
    rate : float
        Learning rate after the warm-up; it falls to 0.
    average : float
        Decay of the moving average of the weights.
    warmup : int
        Steps in which the rate rises.
    """

    steps: int
    rate: float = 2e-3
    average: float = 0.995
    warmup: int = 0


def loss_of(logits: torch.Tensor, target: torch.Tensor, known=None, *, squared: bool = False):
    """Return half cross-entropy, half Dice loss over the batch, GM and cord weighted.

    Parameters
    ----------
    logits, target : torch.Tensor
        (n, 2, rows, columns).
    known : torch.Tensor, optional
        (n, 2, 1, 1): 1 where the target is known.
    squared : bool
        Use squares in the denominator of the Dice, so that soft targets are its optimum.
    """
    total = torch.zeros(())
    for channel, weight in enumerate(WEIGHTS):
        z, t = logits[:, channel].float(), target[:, channel]
        k = torch.ones_like(t) if known is None else known[:, channel].expand_as(t)
        p, t = torch.sigmoid(z) * k, t * k
        area = t.sum() + 1
        sizes = (p * p).sum() + (t * t).sum() + 1 if squared else p.sum() + area
        dice = (2 * (p * t).sum() + 1) / sizes
        entropy = (binary_cross_entropy_with_logits(z, t, reduction="none") * k).sum() / area
        total = total + weight * (0.5 * (1 - dice) + 0.5 * entropy)
    return total


def train(
    network: nn.Module,
    batch: Callable[[int], tuple],
    loss: Callable[..., torch.Tensor],
    recipe: Recipe,
    folder: Path,
    *,
    compiled: bool = False,
) -> dict[str, torch.Tensor]:
    """Train a network, and return its averaged weights.

    Parameters
    ----------
    network : torch.nn.Module
        From `gmseg.models.torch_network`.
    batch : callable
        From the number of a step to its windows and the other arguments of the loss.
    loss : callable
        From logits and these arguments to the loss.
    recipe : Recipe
        Settings.
    folder : pathlib.Path
        Folder of ``checkpoint.pt``, ``log.csv`` and the result, ``weights.pt``.
    compiled : bool
        Compile the network: twice as fast for the paper's, and needs a C++ compiler.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result, checkpoint = folder / "weights.pt", folder / "checkpoint.pt"
    if result.exists():
        return torch.load(result, weights_only=True)
    nn.init.constant_(network.logits.bias, -3.0)  # GM and cord are rare
    network = network.to(memory_format=torch.channels_last).train()
    averaged = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=1e-2)
    step = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["net"])
        averaged.load_state_dict(saved["ema"])
        optimiser.load_state_dict(saved["opt"])
        step = saved["step"]
    forward = torch.compile(network.forward_logits) if compiled else network.forward_logits
    losses: list[float] = []
    started = time.monotonic()
    with (
        ThreadPoolExecutor(1) as loader,
        (folder / "log.csv").open("a") as log,
        tqdm(total=recipe.steps, initial=step, desc=folder.name) as bar,
    ):
        ahead = loader.submit(batch, step)
        while step < recipe.steps:
            windows, *arguments = ahead.result()
            ahead = loader.submit(batch, step + 1)
            rise = min(1.0, (step + 1) / max(recipe.warmup, 1))
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * rise * (1 - step / recipe.steps) ** _DECAY_POWER
            with torch.autocast("cpu", torch.bfloat16):
                logits = forward(windows.contiguous(memory_format=torch.channels_last))
            value = loss(logits, *arguments)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            _average(averaged, network, min(recipe.average, (step + 1) / (step + 10)))
            step += 1
            bar.update()
            losses.append(float(value.detach()))
            if step % _EVERY == 0:
                mean = sum(losses[-_EVERY:]) / _EVERY
                log.write(f"{step},{mean:.4f},{time.monotonic() - started:.0f}\n")
                log.flush()
            if step % _CHECKPOINT_STEPS == 0 or step == recipe.steps:
                state = {"net": network, "ema": averaged, "opt": optimiser}
                content = {name: one.state_dict() for name, one in state.items()}
                _save(content | {"step": step}, checkpoint)
    _save(averaged.state_dict(), result)
    return averaged.state_dict()


def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move averaged weights towards those of a network."""
    with torch.no_grad():
        pairs = zip(averaged.state_dict().values(), network.state_dict().values(), strict=True)
        for mean, value in pairs:
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def _save(content, file: Path) -> None:
    temporary = file.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(file)
