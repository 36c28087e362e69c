"""Make the pictures of the documentation: ``python experiments/figures.py [FOLDER MODEL]``.

FOLDER holds the openly licensed scans (``t2starw-multicentre/sub-9584/...``), MODEL is the fold of
``experiments/default_model.py`` that never saw that subject. Without them, only the pictures that need
no real scan are made.
"""

import sys
from pathlib import Path

import numpy as np

import gmseg
from gmseg.core import pipeline
from gmseg.datasets.splits import subjects_named
from gmseg.inference import segment
from gmseg.inference.engines import load_predictor
from gmseg.io.image import read_scan
from gmseg.io.resources import bundled
from gmseg.models.backend import import_keras
from gmseg.report.overlays import (
    INK,
    PREDICTION,
    axes_at,
    draw_architecture,
    draw_overlay,
    draw_receptive_field,
    draw_run,
)

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "img"
REAL_SCAN = "t2starw-multicentre/sub-9584/anat/sub-9584_run-1_T2starw.nii.gz"
PERSON = "9584"
CREDIT = "scan: 2018 GM imaging challenge data, CC0"
LARGEST_BYTES = 250_000


def main(folder=None, model=None):
    """Make every picture that can be made."""
    import_keras()
    from gmseg.core.network import build_network

    network = build_network()
    save(draw_architecture(network), "architecture.png", dpi=130)
    save(draw_receptive_field(network=network), "receptive_field.png", dpi=130)
    save(draw_pipeline(), "pipeline.png", dpi=130)
    if folder is None:
        print("no folder given: segsample.jpg and video_ss.png need a real scan")
        return
    model = gmseg.load_model(model)
    if PERSON in subjects_named(model.trained_on):
        sys.exit(f"{model.weights}: was trained on {PERSON}; give the fold without that subject")
    scan = read_scan(Path(folder) / REAL_SCAN)
    mask = gmseg.segment(scan, model).mask
    figure = draw_overlay(scan, mask, slices=range(1, 17, 2), columns=4, field_mm=22)
    save(credited(figure, "right"), "segsample.jpg", dpi=150, pil_kwargs={"quality": 88})
    save(credited(draw_run(scan, mask, 8), "left"), "video_ss.png", dpi=130)


def save(figure, name, **how):
    """Save a figure and tell its size."""
    path = IMAGES / name
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, **how)
    size = path.stat().st_size
    print(f"{name}: {size / 1000:.0f} kB{' (too large)' * (size > LARGEST_BYTES)}")


def credited(figure, side):
    """Write into the figure's corner where the scan is from."""
    width, height = figure.get_size_inches()
    x = (0.3 if side == "left" else width - 0.1) / width
    figure.text(x, 0.12 / height, CREDIT, color="#9aa3ad", size=9, ha=side)
    return figure


def draw_pipeline():
    """Draw the sample's way through the pipeline; every picture is a result of its own step."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    model = gmseg.load_model()
    scan = read_scan(bundled("data/sample/phantom_t2s.nii.gz"))
    k = scan.shape[2] // 2
    ready = pipeline.prepare(scan, model)
    soft_windows = segment.predict_windows(load_predictor(model), ready.windows)
    soft = pipeline.soft_on_scan(soft_windows, ready)
    native = scan.get_fdata()[..., k]
    sizes = scan.header.get_zooms()
    size_text = " x ".join(f"{size:g}" for size in sizes)
    step = model.voxel_size_mm
    steps = [
        ("scan", native, sizes, f"{size_text} mm"),
        ("working grid", ready.grid.data[..., k], (step, step), f"{step:g} x {step:g} mm in plane"),
        (
            "window",
            ready.windows[k],
            (step, step),
            f"{model.window} x {model.window}, standardised",
        ),
        ("soft segmentation", soft_windows[k], (step, step), "probability of GM, 0 to 1"),
        ("mask", soft[..., k] > model.threshold, sizes, f"soft > {model.threshold:g}, scan's grid"),
    ]
    side, gap, near_mm = 2.05, 0.3, 6.5
    figure = Figure(figsize=(0.15 + len(steps) * (side + gap) - gap + 0.15, 5.0), facecolor="white")
    wide, high = figure.get_size_inches()
    reach_mm = np.array(native.shape) * sizes[:2] / 2
    middle_mm = (ready.centres[k] - np.array(ready.grid.data.shape[:2]) / 2) * step
    for i, (name, values, spacing, what) in enumerate(steps):
        left = 0.15 + i * (side + gap)
        in_window = name in {"window", "soft segmentation"}
        around = middle_mm if in_window else np.zeros(2)
        half = np.array(values.shape) * spacing[:2] / 2
        where = np.stack([around - half, around + half], axis=1).ravel()
        limits = (0, 1) if i > 2 else (values.min(), np.percentile(values, 99.5))
        for close in (False, True):
            ax = axes_at(
                figure, f"{name}{' close' * close}", left, 0.15 if close else 2.4, side, side
            )
            ax.set_facecolor("#d9dee4")
            ax.imshow(
                values.T,
                "inferno" if name == "soft segmentation" else "gray",
                extent=where,
                origin="lower",
                vmin=limits[0],
                vmax=limits[1],
                interpolation="nearest",
            )
            reach = np.full(2, near_mm) if close else reach_mm
            ax.set(xlim=(-reach[0], reach[0]), ylim=(-reach[1], reach[1]))
            if not close:
                corner = (-near_mm, -near_mm)
                ax.add_patch(Rectangle(corner, 2 * near_mm, 2 * near_mm, fill=False, ec=PREDICTION))
            ax.spines[:].set_color(PREDICTION if close else INK)
        figure.text(left / wide, 4.78 / high, name, size=11, weight="bold", color=INK)
        figure.text(left / wide, 4.56 / high, what, size=9.5, color=INK)
        if i:
            figure.text((left - gap / 2) / wide, 3.4 / high, "→", size=17, color=INK, ha="center")
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:3])
