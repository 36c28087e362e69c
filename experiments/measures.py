"""Measure synthetic phantoms whose outline is known: ``python experiments/measures.py``.

Writes the table of ``docs/measures.md`` between its two marks: errors of the areas of gray matter
and of its horns, from an ideal partial-volume mask and from our segmentation, for pixels of 0.25 to
0.8 mm.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from tqdm import tqdm

import gmseg
from gmseg.datasets.anatomy import cord_shapes, coverage, draw_subject, section_at
from gmseg.datasets.phantom import make_phantom
from gmseg.io.files import write_between
from gmseg.morphometry.areas import HALVES, SIDES

PIXELS_MM = (0.25, 0.4, 0.5, 0.65, 0.8)
CORDS = 12
FIRST_SEED = 10_001  # training counts its phantoms from 0
SLICES, SLICE_MM, FIELD_MM = 6, 5.0, 60.0
FINE_MM = 0.02
DRIFT_MM = 0.6  # default of make_phantom
HORNS = [(side, half) for side in SIDES for half in HALVES]
BEGIN, END = "<!-- tables: python experiments/measures.py -->", "<!-- end of tables -->"


def main(arguments=None):
    """Measure, and write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        default=Path(__file__).parents[1] / "docs" / "measures.md",
    )
    parser.add_argument("--cords", type=int, metavar="N", default=CORDS)
    choices = parser.parse_args(arguments)
    model = gmseg.load_model()
    lines = [
        "| pixel | measured on | area | horn | horn, 95th percentile | horn, mean of a scan |",
        "|--:|---|--:|--:|--:|--:|",
    ]
    for pixel_mm in PIXELS_MM:
        errors = {"an ideal partial-volume mask": [], "our soft segmentation": [], "our mask": []}
        for seed in tqdm(range(FIRST_SEED, FIRST_SEED + choices.cords), desc=f"{pixel_mm} mm"):
            for kind, rows, truth in measured(seed, pixel_mm, model):
                errors[kind].append(relative(rows, truth))
        for kind, found in errors.items():
            lines.append(f"| {pixel_mm} mm | {kind} | {row_of(found)} |")
    write_between(choices.out, BEGIN, END, "\n".join(lines))
    print(f"wrote the table of {choices.out}")


def measured(seed, pixel_mm, model):
    """Yield the kind of mask, measured areas (slices, 4 horns), and true areas."""
    phantom = make_phantom(
        seed=seed,
        spacing_mm=(pixel_mm, pixel_mm, SLICE_MM),
        shape=(round(FIELD_MM / pixel_mm),) * 2 + (SLICES,),
        drift_mm=DRIFT_MM,
    )
    truth, soft = outline(seed, phantom.image)
    perfect = nib.Nifti1Image(soft, phantom.image.affine)
    mask = nib.Nifti1Image((soft > 0.5).astype(np.uint8), phantom.image.affine)
    rows = gmseg.measure_mask(mask, soft=perfect)
    yield "an ideal partial-volume mask", horns(rows, "gm_soft"), truth
    result = gmseg.segment(phantom.image, model)
    rows = gmseg.measure_mask(result.mask, soft=result.soft)
    yield "our soft segmentation", horns(rows, "gm_soft"), truth
    yield "our mask", horns(rows, "gm"), truth


def horns(rows, kind) -> np.ndarray:
    """Return the areas of the horns, (slices, 4)."""
    return np.array([[row[f"{kind}_{s}_{h}_area_mm2"] for s, h in HORNS] for row in rows[:SLICES]])


def outline(seed, image):
    """Return the true areas of the horns, (slices, 4), and the share of GM in every voxel.

    Areas are counted on a grid of 0.02 mm. The horns are divided by the phantom's own midline and
    the middle of its commissure, both of which bend with its small warps.
    """
    subject = draw_subject(seed, DRIFT_MM)
    affine, shape = image.affine, image.shape
    pixel_mm = abs(affine[0, 0])
    parts = round(pixel_mm / FINE_MM)
    soft, truth = np.zeros(shape, np.float32), []
    for k in range(shape[2]):
        cut = section_at(subject, affine[2, 3] + k * affine[2, 2], (0, 0), subject.level)
        box = [near(affine[i, 3], affine[i, i], shape[i], cut.centre[i]) for i in (0, 1)]
        x, y = (fine_positions(affine[i, 3], affine[i, i], box[i], parts) for i in (0, 1))
        _, gm, across, along = cord_shapes(subject, cut, x, y)
        inside = coverage(gm, pixel_mm / parts)
        pooled = inside.reshape(len(x) // parts, parts, len(y) // parts, parts).mean(axis=(1, 3))
        soft[(*box, k)] = pooled
        ahead = along > 0.75 * cut.cord[1] / 4.1 * subject.gm  # the height of the bridge
        left = across < 0  # x runs to the right
        sides = {"left": left, "right": ~left}
        halves = {"anterior": ahead, "posterior": ~ahead}
        sums = [float(inside[sides[side] & halves[half]].sum()) for side, half in HORNS]
        truth.append([area * (pixel_mm / parts) ** 2 for area in sums])
    return np.array(truth), soft


def fine_positions(origin, step, voxels: slice, parts: int) -> np.ndarray:
    """Return the positions of the parts of voxels along one axis."""
    count = voxels.stop - voxels.start
    return (origin + step * (voxels.start + (np.arange(count * parts) + 0.5) / parts - 0.5)).astype(
        np.float32
    )


def near(origin, step, count, centre) -> slice:
    """Return the voxels within 7 mm of the cord's centre along one axis."""
    ends = sorted((centre + sign * 7 - origin) / step for sign in (-1, 1))
    return slice(max(int(ends[0]), 0), min(int(ends[1]) + 1, count))


def relative(measured, truth):
    """Return relative errors: of areas (slices,), of horns, of the means of a scan."""
    area = measured.sum(axis=1) / truth.sum(axis=1) - 1
    means = np.nanmean(measured, axis=0) / truth.mean(axis=0) - 1
    return area, (measured / truth - 1).ravel(), means


def row_of(found) -> str:
    """Return mean absolute errors in percent as cells."""
    area, horn, scan = (np.abs(np.concatenate(part)) * 100 for part in zip(*found, strict=True))
    cells = np.nanmean(area), np.nanmean(horn), np.nanpercentile(horn, 95), np.nanmean(scan)
    return " | ".join(f"{value:.2f} %" for value in cells)


if __name__ == "__main__":
    main()
