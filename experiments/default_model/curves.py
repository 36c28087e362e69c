"""Draw the loss of the shipped models: ``python experiments/default_model/curves.py``.

Reads ``logs/teacher.csv`` (the U-Net) and ``logs/student.csv`` (the default model), which
``build.py`` wrote as ``OUT/teacher/log.csv`` and ``OUT/student/log.csv``.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

LOGS = Path(__file__).with_name("logs")
PICTURE = Path(__file__).resolve().parents[2] / "docs" / "img" / "training-loss.png"
NAMES = {"teacher": "U-Net (model unet)", "student": "paper's network (model default)"}


def main() -> None:
    """Draw and save the picture."""
    figure = Figure(figsize=(6.4, 2.8), layout="constrained")
    axes = figure.subplots()
    for (name, label), style in zip(NAMES.items(), ("--", "-"), strict=True):
        step, loss, _ = np.loadtxt(LOGS / f"{name}.csv", delimiter=",", skiprows=1).T
        axes.semilogy(
            step, loss, style, label=label, color="#0072b2" if style == "-" else "#d55e00"
        )
    axes.set(xlabel="step", ylabel="loss, mean of 50 steps", yticks=[0.4, 0.6, 0.8, 1, 1.5])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(PICTURE, dpi=130)


if __name__ == "__main__":
    main()
