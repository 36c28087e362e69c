"""Curves of a training run."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator


def draw_curves(rows) -> Figure:
    """Draw the loss and the validation Dice of a training run.

    Parameters
    ----------
    rows : list of (int, float, float)
        Step, mean loss since the row before, Dice (NaN without held-out subjects).

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> len(draw_curves([(100, 0.4, 0.7), (200, 0.3, 0.8)]).axes)
    2
    """
    step, loss, dice = np.asarray(rows, float).reshape(-1, 3).T
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(step, loss, color="#d55e00")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set(major_formatter="{x:g}", minor_locator=NullLocator())
    right.plot(step, dice, "o-", color="#0072b2", markersize=3)
    if not np.isfinite(dice).any():
        right.text(0.5, 0.5, "no subject held out", transform=right.transAxes, ha="center")
    for ax, name in ((left, "loss"), (right, "validation Dice")):
        ax.set_xlabel("step")
        ax.set_ylabel(name)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#e4e7eb")
    return figure
