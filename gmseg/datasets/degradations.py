"""Spoil a labelled scan on purpose, mildly to grossly: to measure what flags and confidence do.

Every way of spoiling takes a `Labelled` scan, a grade and a random generator, and returns another;
where voxels move, the reference and the cord move with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
from scipy import ndimage

from gmseg.core.resampling import reoriented


@dataclass(frozen=True)
class Labelled:
    """A scan in LAS orientation and what is known of it.

    Attributes
    ----------
    data : numpy.ndarray
        float32, (rows, columns, slices): rows from right to left, columns from back to front.
    gm, cord : numpy.ndarray
        bool, the same shape: reference and cord mask.
    affine : numpy.ndarray
        (4, 4), in mm.
    """

    data: np.ndarray
    gm: np.ndarray
    cord: np.ndarray
    affine: np.ndarray

    @property
    def image(self) -> nib.Nifti1Image:
        """The scan, to be segmented."""
        return nib.Nifti1Image(self.data.astype(np.float32), self.affine)

    @property
    def sizes_mm(self) -> np.ndarray:
        """Voxel sizes, (3,)."""
        return nib.affines.voxel_sizes(self.affine)


def labelled(scan, gm: np.ndarray, cord: np.ndarray) -> Labelled:
    """Bring a scan (an image) and its masks, on its grid, to LAS orientation."""
    data, affine = reoriented(np.asarray(scan.dataobj), scan.affine)
    masks = [reoriented(np.asarray(mask, np.uint8), scan.affine)[0] > 0.5 for mask in (gm, cord)]
    return Labelled(data, *masks, affine)


@dataclass(frozen=True)
class Spoil:
    """A way of spoiling.

    Attributes
    ----------
    change : callable
        From a `Labelled`, one of the grades' values and a `numpy.random.Generator` to another.
    values : tuple
        What mild, middling and gross mean.
    unit : str
        Of these values, and what they are.
    deserves : str or None
        The flag that ought to be raised (see `gmseg.inference.quality.flags`), if any.
    """

    change: Callable
    values: tuple
    unit: str
    deserves: str | None = None


# ---------------------------------------------------------------------------------- geometry


def shifted(case: Labelled, off_mm: float, rng) -> Labelled:
    """Lay the scan on a larger canvas, so that the cord is whole and so far off its centre."""
    direction = rng.uniform(0, 2 * np.pi)
    want = np.array([np.cos(direction), np.sin(direction)]) * off_mm / case.sizes_mm[:2]
    middle = np.argwhere(case.cord)[:, :2].mean(axis=0) - want
    size = np.array(case.data.shape[:2])
    half = np.ceil(np.maximum(middle, size - middle)) + 1
    low = np.rint(middle - half).astype(int)
    high = np.rint(middle + half).astype(int)
    pad = [*zip(-low, high - size, strict=True), (0, 0)]
    quiet = _edge_values(case.data)
    data = rng.choice(
        quiet, size=tuple(n + sum(p) for n, p in zip(case.data.shape, pad, strict=True))
    )
    inside = tuple(
        slice(before, before + n) for (before, _), n in zip(pad, case.data.shape, strict=True)
    )
    data[inside] = case.data
    affine = case.affine @ nib.affines.from_matvec(np.eye(3), [*low, 0])
    return Labelled(data, np.pad(case.gm, pad), np.pad(case.cord, pad), affine)


def _edge_values(data: np.ndarray) -> np.ndarray:
    """Return the quieter values of a scan's edges: its own background."""
    edge = np.concatenate(
        [part.ravel() for part in (data[:3], data[-3:], data[:, :3], data[:, -3:])]
    )
    return edge[edge <= np.percentile(edge, 30)]


def turned(case: Labelled, degrees: float, rng) -> Labelled:  # noqa: ARG001
    """Turn the voxels about the cord, and say nothing of it in the affine."""
    quarters, rest = divmod(degrees, 90)
    changed = _apply(case, lambda part: np.rot90(part, quarters))
    if quarters % 2:
        rows_mm, columns_mm, _ = case.sizes_mm
        scale = np.diag([columns_mm / rows_mm, rows_mm / columns_mm, 1, 1])
        changed = replace(changed, affine=case.affine @ scale)
    if not rest:
        return changed
    sizes, angle = changed.sizes_mm[:2], np.deg2rad(rest)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.diag(1 / sizes) @ turn @ np.diag(sizes)
    middle = np.argwhere(changed.cord)[:, :2].mean(axis=0)
    return _warped(changed, matrix, middle - matrix @ middle)


def mirrored(case: Labelled, axis: int, rng) -> Labelled:  # noqa: ARG001
    """Mirror the voxels along an axis (1: front to back), and say nothing of it."""
    return _apply(case, lambda part: np.flip(part, axis))


def cut(case: Labelled, margin_mm: float, rng) -> Labelled:
    """Cut the field of view on one side, so near to the middle of the cord."""
    axis, upper = rng.integers(2), rng.integers(2)
    middle = np.argwhere(case.cord)[:, axis].mean()
    margin = margin_mm / case.sizes_mm[axis]
    keep = [slice(None)] * 3
    if upper:
        keep[axis] = slice(0, max(1, round(middle + margin)))
    else:
        keep[axis] = slice(min(case.data.shape[axis] - 1, round(middle - margin)), None)
    first = [part.start or 0 for part in keep]
    changed = _apply(case, lambda part: part[tuple(keep)])
    return replace(changed, affine=case.affine @ nib.affines.from_matvec(np.eye(3), first))


def coarser(case: Labelled, pixel_mm: float, rng) -> Labelled:  # noqa: ARG001
    """Average over larger pixels."""
    factor = pixel_mm / case.sizes_mm[:2]
    shape = np.maximum(1, np.floor(np.array(case.data.shape[:2]) / factor)).astype(int)

    def averaged(part):
        blurred = ndimage.gaussian_filter(part.astype(np.float32), [*(0.36 * factor), 0])
        return ndimage.affine_transform(
            blurred, [*factor, 1], [*(factor / 2 - 0.5), 0], (*shape, part.shape[2]), order=1
        )

    affine = case.affine @ nib.affines.from_matvec(np.diag([*factor, 1]), [*(factor / 2 - 0.5), 0])
    return Labelled(averaged(case.data), averaged(case.gm) > 0.5, averaged(case.cord) > 0.5, affine)


def sagittal(case: Labelled, thick_mm: float, rng) -> Labelled:  # noqa: ARG001
    """Make sagittal slices of an axial scan: thin from foot to head, thick from right to left."""
    rows_mm, _, slice_mm = case.sizes_mm
    step = np.array([thick_mm / rows_mm, 1, case.sizes_mm[1] / slice_mm])
    shape = np.maximum(1, np.floor(np.array(case.data.shape) / step)).astype(int)
    affine = case.affine @ nib.affines.from_matvec(np.diag(step), step / 2 - 0.5)

    def resliced(part):
        return ndimage.affine_transform(
            part.astype(np.float32), step, step / 2 - 0.5, tuple(shape), order=1, mode="nearest"
        )

    return Labelled(resliced(case.data), resliced(case.gm) > 0.5, resliced(case.cord) > 0.5, affine)


def swollen(case: Labelled, factor: float, rng) -> Labelled:
    """Enlarge the cord in a slice of the middle, as if it jumped there."""
    matrix = np.eye(2) / factor
    slices = np.flatnonzero(case.gm.any(axis=(0, 1)))
    k = int(rng.choice(slices[1:-1] if len(slices) > 2 else slices))
    one = _apply(case, lambda part: part[..., k : k + 1].copy())
    middle = np.argwhere(one.cord)[:, :2].mean(axis=0)
    changed = _warped(one, matrix, middle - matrix @ middle)

    def put(part, new):
        part = part.copy()
        part[..., k] = new[..., 0]
        return part

    return Labelled(
        put(case.data, changed.data),
        put(case.gm, changed.gm),
        put(case.cord, changed.cord),
        case.affine,
    )


def doubled(case: Labelled, off_mm: float, rng) -> Labelled:
    """Lay a second, fainter cord beside the first, as a ghost of a swallow may."""
    side = 1 if rng.integers(2) else -1
    shift = side * round(off_mm / case.sizes_mm[0])
    ring = ndimage.binary_dilation(case.cord, np.ones((3, 3, 1)))
    copy = np.roll(np.where(ring, case.data, 0), shift, axis=0)
    there = np.roll(ring, shift, axis=0) & ~ring
    return replace(case, data=np.where(there, copy, case.data).astype(np.float32))


# ------------------------------------------------------------------------------- intensities


def rescaled(case: Labelled, factor: float, rng) -> Labelled:
    """Scale and shift the intensities, as another scanner would."""
    offset = rng.uniform(-0.2, 0.5) * factor * float(case.data.std())
    return replace(case, data=(case.data * factor + offset).astype(np.float32))


def noisy(case: Labelled, share: float, rng) -> Labelled:
    """Add Rician noise; `share` is its deviation over the mean of the cord."""
    sigma = share * float(case.data[case.cord].mean())
    real, imaginary = rng.normal(0, sigma, (2, *case.data.shape))
    return replace(case, data=np.hypot(case.data + real, imaginary).astype(np.float32))


def blurred(case: Labelled, sigma_mm: float, rng) -> Labelled:  # noqa: ARG001
    """Blur in plane."""
    sigma = [*(sigma_mm / case.sizes_mm[:2]), 0]
    return replace(case, data=ndimage.gaussian_filter(case.data, sigma))


def ghosted(case: Labelled, share: float, rng) -> Labelled:
    """Add the ghosts of motion along the columns: every n-th line of k-space is weaker."""
    every = int(rng.choice([2, 3, 4]))
    space = np.fft.fft(case.data, axis=1)
    phase = np.exp(1j * rng.uniform(0.3, 1.0) * np.pi)
    space[:, ::every] *= 1 + share * phase
    return replace(case, data=np.abs(np.fft.ifft(space, axis=1)).astype(np.float32))


def flattened(case: Labelled, share: float, rng) -> Labelled:  # noqa: ARG001
    """Take away a share of the contrast between GM and the white matter around it."""
    return _gm_towards_white(case, share, np.ones(case.gm.shape, bool))


def shaded(case: Labelled, share: float, rng) -> Labelled:
    """Lose signal on one side of the cord, as beside metal or air, with a soft border."""
    middle = np.argwhere(case.cord)[:, 0].mean()
    side = 1 if rng.integers(2) else -1
    off_mm = side * (np.arange(case.data.shape[0]) - middle) * case.sizes_mm[0]
    weight = 1 / (1 + np.exp(-(off_mm - 0.5) / 0.5))
    return replace(case, data=(case.data * (1 - share * weight[:, None, None])).astype(np.float32))


def onesided(case: Labelled, share: float, rng) -> Labelled:
    """Take it away on one side of the cord alone."""
    side = np.zeros(case.gm.shape, bool)
    left = rng.integers(2)
    for k in np.flatnonzero(case.gm.any(axis=(0, 1))):
        middle = np.argwhere(case.cord[..., k] if case.cord[..., k].any() else case.gm[..., k])
        row = round(middle[:, 0].mean())
        side[row:, :, k] = left
        side[:row, :, k] = not left
    return _gm_towards_white(case, share, side)


def _gm_towards_white(case, share, where) -> Labelled:
    """Blend the GM with the white matter's mean; softly, as the border is partial volume."""
    data = case.data.copy()
    inner = ndimage.binary_erosion(case.cord, np.ones((3, 3, 1)))
    around = ndimage.binary_dilation(case.gm, np.ones((3, 3, 1)))
    for k in np.flatnonzero(case.gm.any(axis=(0, 1))):
        white = inner[..., k] & ~around[..., k]
        if not white.any():
            white = case.cord[..., k] & ~case.gm[..., k]
        if not white.any():
            continue
        level, spread = case.data[..., k][white].mean(), case.data[..., k][white].std()
        soft = ndimage.gaussian_filter(around[..., k].astype(np.float32), 0.5)
        weight = share * soft * (around[..., k] & where[..., k] & case.cord[..., k])
        # only what is brighter than white matter is gray matter's contrast
        over = np.maximum(data[..., k] - level - 0.5 * spread, 0)
        data[..., k] -= weight * over
    return replace(case, data=data)


def inverted(case: Labelled, share: float, rng) -> Labelled:  # noqa: ARG001
    """Turn the contrast within the cord and around it: bright is dark, as in T1.

    `share` 0.5 would leave no contrast at all; 1 turns it whole.
    """
    top = np.percentile(case.data, 99.5)
    body = case.data > 0.1 * top
    flipped = np.where(body, 1.1 * top - case.data, case.data)
    mixed = np.where(body, (1 - share) * case.data + share * flipped, case.data)
    return replace(case, data=np.maximum(mixed, 0).astype(np.float32))


def clipped(case: Labelled, percentile: float, rng) -> Labelled:  # noqa: ARG001
    """Cut intensities off at a percentile of the voxels within 15 mm of the cord's middle."""
    rows, columns = np.indices(case.data.shape[:2])
    middle = np.argwhere(case.cord)[:, :2].mean(axis=0)
    off = np.hypot((rows - middle[0]) * case.sizes_mm[0], (columns - middle[1]) * case.sizes_mm[1])
    top = np.percentile(case.data[off < 15], percentile)
    return replace(case, data=np.minimum(case.data, top).astype(np.float32))


def interpolated(case: Labelled, factor: float, rng) -> Labelled:  # noqa: ARG001
    """Keep the middle of k-space alone, 1/factor of it along each axis: zero-filling."""
    space = np.fft.fftshift(np.fft.fft2(case.data, axes=(0, 1)), axes=(0, 1))
    keep = np.zeros(case.data.shape[:2], bool)
    spans = [
        slice(n // 2 - round(n / factor / 2), n // 2 + max(1, round(n / factor / 2)))
        for n in case.data.shape[:2]
    ]
    keep[tuple(spans)] = True
    space[~keep] = 0
    back = np.fft.ifft2(np.fft.ifftshift(space, axes=(0, 1)), axes=(0, 1))
    return replace(case, data=np.abs(back).astype(np.float32))


def dropped(case: Labelled, count: int, rng) -> Labelled:
    """Lose the signal of some slices in a row."""
    slices = np.flatnonzero(case.gm.any(axis=(0, 1)))
    count = min(count, len(slices) - 1)
    first = int(rng.integers(slices[0], slices[-1] - count + 2))
    data = case.data.copy()
    quiet = _edge_values(case.data)
    lost = data[..., first : first + count]
    lost[...] = rng.choice(quiet, size=lost.shape)
    return replace(case, data=data)


# ------------------------------------------------------------------------------------- parts


def _apply(case: Labelled, change) -> Labelled:
    """Change the voxels of scan and masks alike."""
    parts = (np.ascontiguousarray(change(part)) for part in (case.data, case.gm, case.cord))
    return Labelled(*parts, case.affine)


def _warped(case: Labelled, matrix, offset) -> Labelled:
    """Move voxels within the slices: linearly, and masks by their halves."""
    full = nib.affines.from_matvec(np.eye(3))
    full[:2, :2], full[:2, 3] = matrix, offset

    def moved(part, mode):
        return ndimage.affine_transform(
            part.astype(np.float32), full[:3, :3], full[:3, 3], order=1, mode=mode
        )

    return replace(
        case,
        data=moved(case.data, "nearest"),
        gm=moved(case.gm, "constant") > 0.5,
        cord=moved(case.cord, "constant") > 0.5,
    )


DEGRADATIONS = {
    "shifted": Spoil(shifted, (15.0, 30.0, 60.0), "mm off the image's centre"),
    "turned by quarters": Spoil(turned, (90, 180, 270), "degrees", "orientation"),
    "mirrored": Spoil(mirrored, (1,), "front to back", "orientation"),
    "turned": Spoil(turned, (25, 35, 45), "degrees", "turned"),
    "cut": Spoil(cut, (4.0, 2.0, 0.0), "mm from the cord's middle to the edge", "edge"),
    "coarse": Spoil(coarser, (1.05, 1.3, 1.6), "mm in plane", "coarse"),
    "interpolated": Spoil(interpolated, (1.5, 2.0, 3.0), "times", "interpolated"),
    "sagittal": Spoil(sagittal, (2.0, 3.0, 4.0), "mm thick, from right to left", "not-axial"),
    "swollen": Spoil(swollen, (1.3, 1.6, 2.0), "times, one slice", "area-jump"),
    "doubled": Spoil(doubled, (8.0, 7.0, 6.0), "mm beside the cord", "pieces"),
    "slices lost": Spoil(dropped, (1, 2, 3), "slices", "no-gm"),
    "rescaled": Spoil(rescaled, (0.01, 10.0, 1000.0), "times, and an offset"),
    "noisy": Spoil(noisy, (0.05, 0.1, 0.2), "of the cord's mean"),
    "blurred": Spoil(blurred, (0.3, 0.6, 1.0), "mm"),
    "ghosted": Spoil(ghosted, (0.3, 0.8, 1.5), "of every 2nd to 4th line"),
    "flattened": Spoil(flattened, (0.8, 0.9, 1.0), "of the contrast lost", "contrast"),
    "one-sided": Spoil(onesided, (0.7, 0.85, 1.0), "of one side's contrast lost", "uneven"),
    "shaded": Spoil(shaded, (0.4, 0.6, 0.8), "of one side's signal lost", "uneven"),
    "inverted": Spoil(inverted, (0.75, 0.9, 1.0), "turned", "inverted"),
    "clipped": Spoil(clipped, (97, 90, 70), "percentile", "clipped"),
}
"""Every way of spoiling, each from mild to gross."""
