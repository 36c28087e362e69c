"""Draw the pictures of the documentation: ``python experiments/figures.py [SHARED_DATA MODEL]``.

SHARED_DATA contains ``t2starw-multicentre``; MODEL is the fold model of
``experiments/default_model/folds.py`` that was not trained on subject 9584. Without them, only the
pictures that need no real scan are drawn.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import gmseg
from gmseg.core import pipeline
from gmseg.core.resampling import to_working_grid
from gmseg.datasets.splits import subjects_named
from gmseg.inference.engines import load_predictor
from gmseg.io.image import read_scan
from gmseg.io.resources import bundled
from gmseg.models.backend import import_keras
from gmseg.paper.network_diagrams import draw_architecture, draw_receptive_field
from gmseg.report.overlays import draw_overlay, draw_slice_with_side_view
from gmseg.report.panels import INK, PREDICTION, axes_at

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "img"
REAL_SCAN = "t2starw-multicentre/sub-9584/anat/sub-9584_run-1_T2starw.nii.gz"
SUBJECT = "9584"
CREDIT = "scan: 2018 GM imaging challenge data, CC0"
LARGEST_BYTES = 250_000
NEAR_MM = 6.5  # half the side of the squares around the cord


def main(data=None, model=None, out: Path = IMAGES):
    """Draw every picture that can be drawn."""
    import_keras()
    from gmseg.core.network import build_network

    network = build_network()
    save(draw_architecture(network), out / "architecture.png", dpi=150)
    save(draw_receptive_field(network), out / "receptive_field.png", dpi=150)
    save(draw_pipeline(), out / "pipeline.png", dpi=130)
    if data is None:
        print("no folder given: segsample.jpg and video_ss.png need a real scan")
        return
    model = gmseg.load_model(model)
    if SUBJECT in subjects_named(model.trained_on):
        sys.exit(f"{model.weights}: was trained on {SUBJECT}; give the fold without that subject")
    scan = read_scan(Path(data) / REAL_SCAN)
    mask = gmseg.segment(scan, model).mask
    figure = draw_overlay(scan, mask, slices=range(1, 17, 2), columns=4, field_mm=22)
    save(credited(figure, "right"), out / "segsample.jpg", dpi=150, pil_kwargs={"quality": 88})
    save(credited(draw_slice_with_side_view(scan, mask, 8), "left"), out / "video_ss.png", dpi=130)


def save(figure, path: Path, **options):
    """Save a figure and print its size."""
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, **options)
    size = path.stat().st_size
    print(f"{path.name}: {size / 1000:.0f} kB{' (too large)' * (size > LARGEST_BYTES)}")


def credited(figure, side):
    """Write the origin of the scan into a corner of the figure."""
    width, height = figure.get_size_inches()
    x = (0.3 if side == "left" else width - 0.1) / width
    figure.text(x, 0.12 / height, CREDIT, color="#9aa3ad", size=9, ha=side)
    return figure


def draw_pipeline() -> Figure:
    """Draw the steps of the pipeline on the sample, each with its own result."""
    steps, reach_mm, window_mm = pipeline_steps()
    side, gap = 2.05, 0.3
    figure = Figure(figsize=(0.15 + len(steps) * (side + gap) - gap + 0.15, 5.0), facecolor="white")
    width, height = figure.get_size_inches()
    for i, (name, values, spacing_mm, text) in enumerate(steps):
        left = 0.15 + i * (side + gap)
        in_window = name in {"window", "soft segmentation"}
        centre_mm = window_mm if in_window else np.zeros(2)
        options = {
            "cmap": "inferno" if name == "soft segmentation" else "gray",
            "vmin": 0 if i > 2 else values.min(),
            "vmax": 1 if i > 2 else np.percentile(values, 99.5),
        }
        whole = axes_at(figure, name, left, 2.4, side, side)
        show_step(whole, values, spacing_mm, centre_mm, reach_mm, **options)
        corner = (-NEAR_MM, -NEAR_MM)
        square = Rectangle(corner, 2 * NEAR_MM, 2 * NEAR_MM, fill=False, ec=PREDICTION)
        whole.add_patch(square)
        whole.spines[:].set_color(INK)
        close = axes_at(figure, f"{name} close", left, 0.15, side, side)
        show_step(close, values, spacing_mm, centre_mm, np.full(2, NEAR_MM), **options)
        close.spines[:].set_color(PREDICTION)
        figure.text(left / width, 4.78 / height, name, size=11, weight="bold", color=INK)
        figure.text(left / width, 4.56 / height, text, size=9.5, color=INK)
        if i:
            x = (left - gap / 2) / width
            figure.text(x, 3.4 / height, "→", size=17, color=INK, ha="center")
    return figure


def pipeline_steps() -> tuple[list, np.ndarray, np.ndarray]:
    """Run the pipeline on the sample and return what its middle slice is after every step.

    Returns
    -------
    steps : list of (str, numpy.ndarray, tuple of float, str)
        Name, slice, pixel size in mm, and description.
    reach_mm, window_mm : numpy.ndarray
        Half the size of the slice; the centre of the window from that of the slice.
    """
    model = gmseg.load_model()
    scan = read_scan(bundled("data/sample/phantom_t2s.nii.gz"))
    k = scan.shape[2] // 2
    prepared = pipeline.prepare(scan, model)
    working = to_working_grid(scan.get_fdata(), scan.affine, model.voxel_size_mm)
    soft_windows = pipeline.predict_windows(load_predictor(model), prepared.windows)[:, 0]
    soft = pipeline.restore(soft_windows, prepared.centres, prepared.grid)
    native = scan.get_fdata()[..., k]
    sizes_mm = scan.header.get_zooms()
    working_mm = (model.voxel_size_mm, model.voxel_size_mm)
    sizes = " x ".join(f"{size:g}" for size in sizes_mm) + " mm"
    grid = f"{working_mm[0]:g} x {working_mm[0]:g} mm in plane"
    window = f"{model.window} x {model.window}, standardised"
    threshold = f"soft > {model.threshold:g}, native grid"
    steps = [
        ("scan", native, sizes_mm[:2], sizes),
        ("working grid", working.data[..., k], working_mm, grid),
        ("window", prepared.windows[k], working_mm, window),
        ("soft segmentation", soft_windows[k], working_mm, "probability of GM, 0 to 1"),
        ("mask", soft[..., k] > model.threshold, sizes_mm[:2], threshold),
    ]
    middle = np.array(working.shape[:2]) / 2
    window_mm = (prepared.centres[k] - middle) * model.voxel_size_mm
    return steps, np.array(native.shape) * sizes_mm[:2] / 2, window_mm


def show_step(ax, values, spacing_mm, centre_mm, reach_mm, **options) -> None:
    """Show a slice around its centre in mm, and the part within reach of the origin."""
    half_mm = np.array(values.shape) * spacing_mm / 2
    extent = np.stack([centre_mm - half_mm, centre_mm + half_mm], axis=1).ravel()
    ax.set_facecolor("#d9dee4")
    ax.imshow(values.T, extent=extent, origin="lower", interpolation="nearest", **options)
    ax.set(xlim=(-reach_mm[0], reach_mm[0]), ylim=(-reach_mm[1], reach_mm[1]))


if __name__ == "__main__":
    main(*sys.argv[1:3])
