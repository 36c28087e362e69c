"""Degrade a labelled scan, mildly to severely, to test QC flags and expected Dice.

Every function takes a `LabelledVolume`, a severity and a random generator, and returns another
volume. Where voxels move, the reference and the cord mask move with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
from scipy import ndimage

from gmseg.core.resampling import reoriented


@dataclass(frozen=True)
class LabelledVolume:
    """A scan in LAS orientation, its reference and its cord mask.

    Attributes
    ----------
    data : numpy.ndarray
        float32, (rows, columns, slices): rows from right to left, columns from posterior to
        anterior.
    gm, cord : numpy.ndarray
        bool, the same shape.
    affine : numpy.ndarray
        (4, 4), in mm.
    """

    data: np.ndarray
    gm: np.ndarray
    cord: np.ndarray
    affine: np.ndarray

    @property
    def image(self) -> nib.Nifti1Image:
        """The scan as an image that `gmseg.segment` takes."""
        return nib.Nifti1Image(self.data.astype(np.float32), self.affine)

    @property
    def sizes_mm(self) -> np.ndarray:
        """Voxel sizes, (3,)."""
        return nib.affines.voxel_sizes(self.affine)


def labelled_volume(scan, gm: np.ndarray, cord: np.ndarray) -> LabelledVolume:
    """Return a scan and its masks in LAS orientation.

    Parameters
    ----------
    scan : nibabel.Nifti1Image
    gm, cord : numpy.ndarray
        Masks on the scan's grid.

    Examples
    --------
    >>> scan = nib.Nifti1Image(np.zeros((4, 5, 2), np.float32), np.eye(4))
    >>> volume = labelled_volume(scan, np.ones((4, 5, 2)), np.ones((4, 5, 2)))
    >>> nib.aff2axcodes(volume.affine), int(volume.gm.sum())
    (('L', 'A', 'S'), 40)
    """
    data, affine = reoriented(np.asarray(scan.dataobj), scan.affine)
    gm, cord = (reoriented(np.asarray(part, np.uint8), scan.affine)[0] > 0.5 for part in (gm, cord))
    return LabelledVolume(data, gm, cord, affine)


@dataclass(frozen=True)
class Degradation:
    """A way to degrade a scan.

    Attributes
    ----------
    change : callable
        Function of a `LabelledVolume`, one of `values` and a `numpy.random.Generator`, which
        returns the degraded volume.
    values : tuple
        Severities, from mild to severe.
    unit : str
        Unit and meaning of the severities.
    flag : str or None
        The QC flag that it should raise (see `gmseg.inference.quality.flags`), if any.
    """

    change: Callable
    values: tuple
    unit: str
    flag: str | None = None


# ---------------------------------------------------------------------------------- geometry


def shifted(volume: LabelledVolume, off_mm: float, rng) -> LabelledVolume:
    """Place the scan in a larger field of view, with the cord `off_mm` from its centre."""
    direction = rng.uniform(0, 2 * np.pi)
    wanted = np.array([np.cos(direction), np.sin(direction)]) * off_mm / volume.sizes_mm[:2]
    middle = np.argwhere(volume.cord)[:, :2].mean(axis=0) - wanted
    size = np.array(volume.data.shape[:2])
    half = np.ceil(np.maximum(middle, size - middle)) + 1
    low = np.rint(middle - half).astype(int)
    high = np.rint(middle + half).astype(int)
    pad = [*zip(-low, high - size, strict=True), (0, 0)]
    background = _edge_values(volume.data)
    data = rng.choice(
        background, size=tuple(n + sum(p) for n, p in zip(volume.data.shape, pad, strict=True))
    )
    inside = tuple(
        slice(before, before + n) for (before, _), n in zip(pad, volume.data.shape, strict=True)
    )
    data[inside] = volume.data
    affine = volume.affine @ nib.affines.from_matvec(np.eye(3), [*low, 0])
    return LabelledVolume(data, np.pad(volume.gm, pad), np.pad(volume.cord, pad), affine)


def _edge_values(data: np.ndarray) -> np.ndarray:
    """Return the lower values at a scan's edges: its background."""
    edge = np.concatenate(
        [part.ravel() for part in (data[:3], data[-3:], data[:, :3], data[:, -3:])]
    )
    return edge[edge <= np.percentile(edge, 30)]


def turned(volume: LabelledVolume, degrees: float, rng) -> LabelledVolume:  # noqa: ARG001
    """Rotate the voxels about the cord without changing the affine."""
    quarters, rest = divmod(degrees, 90)
    changed = _apply(volume, lambda part: np.rot90(part, int(quarters)))
    if quarters % 2:
        rows_mm, columns_mm, _ = volume.sizes_mm
        scale = np.diag([columns_mm / rows_mm, rows_mm / columns_mm, 1, 1])
        changed = replace(changed, affine=volume.affine @ scale)
    if not rest:
        return changed
    sizes, angle = changed.sizes_mm[:2], np.deg2rad(rest)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.diag(1 / sizes) @ turn @ np.diag(sizes)
    middle = np.argwhere(changed.cord)[:, :2].mean(axis=0)
    return _warped(changed, matrix, middle - matrix @ middle)


def mirrored(volume: LabelledVolume, axis: int, rng) -> LabelledVolume:  # noqa: ARG001
    """Mirror the voxels along an axis (1: anterior-posterior) without changing the affine."""
    return _apply(volume, lambda part: np.flip(part, axis))


def cut(volume: LabelledVolume, margin_mm: float, rng) -> LabelledVolume:
    """Cut the field of view on one side, at a distance from the centre of the cord."""
    axis, upper = rng.integers(2), rng.integers(2)
    middle = np.argwhere(volume.cord)[:, axis].mean()
    margin = margin_mm / volume.sizes_mm[axis]
    keep = [slice(None)] * 3
    if upper:
        keep[axis] = slice(0, max(1, round(middle + margin)))
    else:
        keep[axis] = slice(min(volume.data.shape[axis] - 1, round(middle - margin)), None)
    first = [part.start or 0 for part in keep]
    changed = _apply(volume, lambda part: part[tuple(keep)])
    return replace(changed, affine=volume.affine @ nib.affines.from_matvec(np.eye(3), first))


def coarser(volume: LabelledVolume, pixel_mm: float, rng) -> LabelledVolume:  # noqa: ARG001
    """Average over larger pixels."""
    factor = pixel_mm / volume.sizes_mm[:2]
    sigma = [*(0.36 * factor), 0]
    return _resampled(volume, np.array([*factor, 1]), "constant", sigma)


def sagittal(volume: LabelledVolume, thick_mm: float, rng) -> LabelledVolume:  # noqa: ARG001
    """Resample to sagittal slices: thin from inferior to superior, thick from right to left."""
    rows_mm, columns_mm, slice_mm = volume.sizes_mm
    return _resampled(volume, np.array([thick_mm / rows_mm, 1, columns_mm / slice_mm]), "nearest")


def swollen(volume: LabelledVolume, factor: float, rng) -> LabelledVolume:
    """Enlarge the cord in one of the middle slices."""
    matrix = np.eye(2) / factor
    slices = np.flatnonzero(volume.gm.any(axis=(0, 1)))
    k = int(rng.choice(slices[1:-1] if len(slices) > 2 else slices))
    single = _apply(volume, lambda part: part[..., k : k + 1])
    middle = np.argwhere(single.cord)[:, :2].mean(axis=0)
    enlarged = _warped(single, matrix, middle - matrix @ middle)
    changed = _apply(volume, np.copy)
    for part in ("data", "gm", "cord"):
        getattr(changed, part)[..., k] = getattr(enlarged, part)[..., 0]
    return changed


def doubled(volume: LabelledVolume, off_mm: float, rng) -> LabelledVolume:
    """Add a second cord next to the first, as a ghost of swallowing may."""
    side = 1 if rng.integers(2) else -1
    shift = side * round(off_mm / volume.sizes_mm[0])
    ring = ndimage.binary_dilation(volume.cord, np.ones((3, 3, 1)))
    copy = np.roll(np.where(ring, volume.data, 0), shift, axis=0)
    beside = np.roll(ring, shift, axis=0) & ~ring
    return _with_data(volume, np.where(beside, copy, volume.data))


# ------------------------------------------------------------------------------- intensities


def rescaled(volume: LabelledVolume, factor: float, rng) -> LabelledVolume:
    """Scale and shift the intensities, as on another scanner."""
    offset = rng.uniform(-0.2, 0.5) * factor * float(volume.data.std())
    return _with_data(volume, volume.data * factor + offset)


def noisy(volume: LabelledVolume, share: float, rng) -> LabelledVolume:
    """Add Rician noise; `share` is its standard deviation over the mean of the cord."""
    sigma = share * float(volume.data[volume.cord].mean())
    real, imaginary = rng.normal(0, sigma, (2, *volume.data.shape))
    return _with_data(volume, np.hypot(volume.data + real, imaginary))


def blurred(volume: LabelledVolume, sigma_mm: float, rng) -> LabelledVolume:  # noqa: ARG001
    """Blur in plane."""
    sigma = [*(sigma_mm / volume.sizes_mm[:2]), 0]
    return _with_data(volume, ndimage.gaussian_filter(volume.data, sigma))


def ghosted(volume: LabelledVolume, share: float, rng) -> LabelledVolume:
    """Add motion ghosts along the columns: every n-th line of k-space changes."""
    every = int(rng.choice([2, 3, 4]))
    space = np.fft.fft(volume.data, axis=1)
    phase = np.exp(1j * rng.uniform(0.3, 1.0) * np.pi)
    space[:, ::every] *= 1 + share * phase
    return _with_data(volume, np.abs(np.fft.ifft(space, axis=1)))


def flattened(volume: LabelledVolume, share: float, rng) -> LabelledVolume:  # noqa: ARG001
    """Remove a share of the contrast between GM and the white matter around it."""
    return _gm_towards_white(volume, share, np.ones(volume.gm.shape, bool))


def shaded(volume: LabelledVolume, share: float, rng) -> LabelledVolume:
    """Lower the signal on one side of the cord, as near metal or air, with a soft border."""
    middle = np.argwhere(volume.cord)[:, 0].mean()
    side = 1 if rng.integers(2) else -1
    off_mm = side * (np.arange(volume.data.shape[0]) - middle) * volume.sizes_mm[0]
    weight = 1 / (1 + np.exp(-(off_mm - 0.5) / 0.5))
    return _with_data(volume, volume.data * (1 - share * weight[:, None, None]))


def onesided(volume: LabelledVolume, share: float, rng) -> LabelledVolume:
    """Remove a share of the contrast of GM on one side of the cord."""
    side = np.zeros(volume.gm.shape, bool)
    left = rng.integers(2)
    for k in np.flatnonzero(volume.gm.any(axis=(0, 1))):
        cord = volume.cord[..., k]
        middle = np.argwhere(cord if cord.any() else volume.gm[..., k])
        row = round(middle[:, 0].mean())
        side[row:, :, k] = left
        side[:row, :, k] = not left
    return _gm_towards_white(volume, share, side)


def _gm_towards_white(volume, share, where) -> LabelledVolume:
    """Blend GM with the mean of white matter; softly, since the border is partial volume."""
    data = volume.data.copy()
    inner = ndimage.binary_erosion(volume.cord, np.ones((3, 3, 1)))
    around = ndimage.binary_dilation(volume.gm, np.ones((3, 3, 1)))
    for k in np.flatnonzero(volume.gm.any(axis=(0, 1))):
        white = inner[..., k] & ~around[..., k]
        if not white.any():
            white = volume.cord[..., k] & ~volume.gm[..., k]
        if not white.any():
            continue
        level, spread = volume.data[..., k][white].mean(), volume.data[..., k][white].std()
        soft = ndimage.gaussian_filter(around[..., k].astype(np.float32), 0.5)
        weight = share * soft * (around[..., k] & where[..., k] & volume.cord[..., k])
        # contrast of GM is only what is brighter than white matter
        over = np.maximum(data[..., k] - level - 0.5 * spread, 0)
        data[..., k] -= weight * over
    return _with_data(volume, data)


def inverted(volume: LabelledVolume, share: float, rng) -> LabelledVolume:  # noqa: ARG001
    """Invert the contrast of cord and surroundings, as in T1; `share` 0.5 leaves none."""
    top = np.percentile(volume.data, 99.5)
    body = volume.data > 0.1 * top
    flipped = np.where(body, 1.1 * top - volume.data, volume.data)
    mixed = np.where(body, (1 - share) * volume.data + share * flipped, volume.data)
    return _with_data(volume, np.maximum(mixed, 0))


def clipped(volume: LabelledVolume, percentile: float, rng) -> LabelledVolume:  # noqa: ARG001
    """Clip intensities at a percentile of the voxels within 15 mm of the cord's middle."""
    rows, columns = np.indices(volume.data.shape[:2])
    middle = np.argwhere(volume.cord)[:, :2].mean(axis=0)
    off = np.hypot(
        (rows - middle[0]) * volume.sizes_mm[0], (columns - middle[1]) * volume.sizes_mm[1]
    )
    top = np.percentile(volume.data[off < 15], percentile)
    return _with_data(volume, np.minimum(volume.data, top))


def interpolated(volume: LabelledVolume, factor: float, rng) -> LabelledVolume:  # noqa: ARG001
    """Keep only the middle of k-space, 1/factor along each axis: zero-filling."""
    space = np.fft.fftshift(np.fft.fft2(volume.data, axes=(0, 1)), axes=(0, 1))
    keep = np.zeros(volume.data.shape[:2], bool)
    spans = [
        slice(n // 2 - round(n / factor / 2), n // 2 + max(1, round(n / factor / 2)))
        for n in volume.data.shape[:2]
    ]
    keep[tuple(spans)] = True
    space[~keep] = 0
    back = np.fft.ifft2(np.fft.ifftshift(space, axes=(0, 1)), axes=(0, 1))
    return _with_data(volume, np.abs(back))


def dropped(volume: LabelledVolume, count: int, rng) -> LabelledVolume:
    """Replace some consecutive slices by background."""
    slices = np.flatnonzero(volume.gm.any(axis=(0, 1)))
    count = min(count, len(slices) - 1)
    first = int(rng.integers(slices[0], slices[-1] - count + 2))
    data = volume.data.copy()
    background = _edge_values(volume.data)
    lost = data[..., first : first + count]
    lost[...] = rng.choice(background, size=lost.shape)
    return _with_data(volume, data)


# ------------------------------------------------------------------------------------- parts


def _with_data(volume: LabelledVolume, data) -> LabelledVolume:
    return replace(volume, data=data.astype(np.float32))


def _apply(volume: LabelledVolume, change) -> LabelledVolume:
    """Apply the same change to the voxels of scan and masks."""
    parts = (volume.data, volume.gm, volume.cord)
    data, gm, cord = (np.ascontiguousarray(change(part)) for part in parts)
    return LabelledVolume(data, gm, cord, volume.affine)


def _resampled(volume: LabelledVolume, step, mode, sigma=0.0) -> LabelledVolume:
    """Sample every `step` voxels, linearly, after a Gaussian filter; masks are thresholded."""
    shape = np.maximum(1, np.floor(np.array(volume.data.shape) / step)).astype(int)
    offset = step / 2 - 0.5

    def sampled(part):
        part = ndimage.gaussian_filter(part.astype(np.float32), sigma)
        return ndimage.affine_transform(part, step, offset, tuple(shape), order=1, mode=mode)

    affine = volume.affine @ nib.affines.from_matvec(np.diag(step), offset)
    gm, cord = (sampled(mask) > 0.5 for mask in (volume.gm, volume.cord))
    return LabelledVolume(sampled(volume.data), gm, cord, affine)


def _warped(volume: LabelledVolume, matrix, offset) -> LabelledVolume:
    """Move voxels within the slices by linear interpolation; masks are thresholded at 0.5."""
    full = nib.affines.from_matvec(np.eye(3))
    full[:2, :2], full[:2, 3] = matrix, offset

    def moved(part, mode):
        return ndimage.affine_transform(
            part.astype(np.float32), full[:3, :3], full[:3, 3], order=1, mode=mode
        )

    return replace(
        volume,
        data=moved(volume.data, "nearest"),
        gm=moved(volume.gm, "constant") > 0.5,
        cord=moved(volume.cord, "constant") > 0.5,
    )


DEGRADATIONS = {
    "shifted": Degradation(shifted, (15.0, 30.0, 60.0), "mm off the image's centre"),
    "turned by quarters": Degradation(turned, (90, 180, 270), "degrees", "orientation"),
    "mirrored": Degradation(mirrored, (1,), "anterior-posterior", "orientation"),
    "turned": Degradation(turned, (25, 35, 45), "degrees", "turned"),
    "cut": Degradation(cut, (4.0, 2.0, 0.0), "mm from the cord's middle to the edge", "edge"),
    "coarse": Degradation(coarser, (1.05, 1.3, 1.6), "mm in plane", "coarse"),
    "interpolated": Degradation(interpolated, (1.5, 2.0, 3.0), "times", "interpolated"),
    "sagittal": Degradation(sagittal, (2.0, 3.0, 4.0), "mm thick, from right to left", "not-axial"),
    "swollen": Degradation(swollen, (1.3, 1.6, 2.0), "times, one slice", "area-jump"),
    "doubled": Degradation(doubled, (8.0, 7.0, 6.0), "mm left or right of the cord", "components"),
    "slices lost": Degradation(dropped, (1, 2, 3), "slices", "no-gm"),
    "rescaled": Degradation(rescaled, (0.01, 10.0, 1000.0), "times, and an offset"),
    "noisy": Degradation(noisy, (0.05, 0.1, 0.2), "of the cord's mean"),
    "blurred": Degradation(blurred, (0.3, 0.6, 1.0), "mm"),
    "ghosted": Degradation(ghosted, (0.3, 0.8, 1.5), "of every 2nd to 4th line"),
    "flattened": Degradation(flattened, (0.8, 0.9, 1.0), "of the contrast lost", "contrast"),
    "one-sided": Degradation(onesided, (0.7, 0.85, 1.0), "of one side's contrast lost", "uneven"),
    "shaded": Degradation(shaded, (0.4, 0.6, 0.8), "of one side's signal lost", "uneven"),
    "inverted": Degradation(inverted, (0.75, 0.9, 1.0), "turned", "inverted"),
    "clipped": Degradation(clipped, (97, 90, 70), "percentile", "clipped"),
}
"""Every degradation by name, each from mild to severe; `experiments` seed by these names."""
