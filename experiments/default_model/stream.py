"""Augmented training windows: slices of scans, and cord sections painted over real cords."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch.nn.functional import avg_pool2d, grid_sample, interpolate, pad

from data import FIELD, WINDOW, Sections, TrainingScan

SOURCE = 208
"""Pixels of the part of a slice that a window is drawn from."""
SHARES = {"labelled": 0.35, "unlabelled": 0.30, "painted": 0.35}
FAR_SHARE = 0.12  # of the windows of scans lie away from the cord
SMALL_FIELD_SHARE = 0.25  # of the windows are cut to a small field of view
_MIDDLE = FIELD // 2
_CENTRED = slice(_MIDDLE - SOURCE // 2, _MIDDLE + SOURCE // 2)


def paint(
    rng: np.random.Generator, scans: Sequence[TrainingScan], sections: Sections, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Paint cord sections over the cords of scans.

    Returns
    -------
    images : numpy.ndarray
        float16, (count, 3, SOURCE, SOURCE): standardised image, GM and cord from 0 to 1.
    levels : numpy.ndarray
        float32, (count, 2): mean and standard deviation with which the images are standardised.
    """
    usable = [
        (scan, k)
        for scan in scans
        for k in np.flatnonzero(np.isfinite(scan.cord[:, _MIDDLE, _MIDDLE]))
    ]
    images = np.zeros((count, 3, SOURCE, SOURCE), np.float16)
    levels = np.zeros((count, 2), np.float32)
    done = 0
    while done < count:
        scan, k = usable[rng.integers(len(usable))]
        painted = _painted(rng, scan, k, sections)
        if painted is not None:
            images[done], levels[done] = painted, (scan.mean, scan.std)
            done += 1
    return images, levels


def _painted(rng, scan: TrainingScan, k: int, sections: Sections) -> np.ndarray | None:
    """Return image, GM and cord of one painted slice; None where the scan's slice is no use."""
    base, cord = scan.image[k][_CENTRED, _CENTRED], scan.cord[k][_CENTRED, _CENTRED]
    inside = cord > 0.5
    if inside.sum() < 300 or not np.isfinite(base).all():
        return None
    gm, wm, texture = _warped_section(rng, inside, sections)
    known_gm = np.nan_to_num(scan.gm[k][_CENTRED, _CENTRED]) > 0.5
    ring = ndimage.binary_dilation(inside, iterations=9)
    ring &= ~ndimage.binary_dilation(inside, iterations=4)
    wm_level, csf = np.median(base[inside & ~known_gm]), np.median(base[ring])
    if not wm_level > 0:
        return None
    # in a third of the images, CSF is as bright as WM
    alike = rng.random() < 0.33
    csf = wm_level * rng.uniform(0.9, 1.1) if alike else csf * rng.uniform(0.85, 1.15)
    contrast = rng.uniform(0.08, 0.55)
    cord_values = wm_level * (1 + contrast * _gm_pattern(rng, gm, wm, texture))
    total = np.clip(gm + wm, 0, 1)
    covered = ndimage.binary_dilation(inside, iterations=3) | (total > 0.05)
    cover = np.clip(ndimage.gaussian_filter(covered.astype(np.float32), 1.5), 0, 1)
    image = base * (1 - cover) + cover * (total * cord_values + (1 - total) * csf)
    blurred = ndimage.gaussian_filter(image, rng.uniform(0.5, 1.8))
    noise = ndimage.gaussian_filter(rng.normal(0, 1, image.shape), rng.uniform(0.4, 1.2))
    noise *= wm_level * rng.uniform(0.01, 0.08) / noise.std()
    image = np.where(cover > 0.5, blurred + noise, image)
    return np.stack([(image - scan.mean) / scan.std, gm, total])


def _warped_section(rng, inside: np.ndarray, sections: Sections) -> list[np.ndarray]:
    """Return GM, WM and texture of a random section, deformed to about the size of a cord."""
    j = rng.integers(len(sections.gm))
    section = sections.gm[j] + sections.wm[j]
    scale = np.sqrt(section.sum() / (inside.sum() * rng.uniform(0.85, 1.15)))
    angle, stretch = np.deg2rad(rng.normal(0, 6)), np.exp(rng.normal(0, 0.06))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = scale * turn @ np.diag([stretch, 1 / stretch])
    if rng.random() < 0.5:
        matrix[:, 0] *= -1
    centre = np.array(ndimage.center_of_mass(inside))
    middle = np.array(ndimage.center_of_mass(section > 0.5))
    rows, columns = np.mgrid[:SOURCE, :SOURCE].astype(np.float32)
    shift = [
        ndimage.zoom(rng.normal(0, 1.0, (7, 7)), SOURCE / 7, order=3)[:SOURCE, :SOURCE]
        for _ in range(2)
    ]
    places = np.einsum("ij,jrc->irc", matrix, np.stack([rows - centre[0], columns - centre[1]]))
    places += middle[:, None, None] + np.stack(shift)
    parts = (sections.gm[j], sections.wm[j], sections.texture[j])
    return [ndimage.map_coordinates(part, places, order=1) for part in parts]


def _gm_pattern(rng, gm: np.ndarray, wm: np.ndarray, texture: np.ndarray) -> np.ndarray:
    """Return what is 1 in GM and 0 in WM: the labels, or in half of the images the texture."""
    if (texture != 0).sum() > 200 and rng.random() < 0.5:
        bright, dark = texture[gm > 0.8], texture[wm > 0.8]
        enough = len(bright) > 30 and len(dark) > 30
        if enough and np.median(bright) > np.median(dark):
            low, high = np.median(dark), np.median(bright)
            return np.clip((texture - low) / (high - low), -2, 3)
    return gm


class Stream:
    """Batches that depend on the seed and the number of the step alone.

    Parameters
    ----------
    scans : sequence of TrainingScan
        A subject is drawn first, then a scan, then a slice.
    painted, levels : numpy.ndarray
        From `paint`.
    size : int
        Rows and columns of the windows, cut from the middle of 128 x 128.
    batch : int
        Windows in a batch.
    seed : int
        Seed of all draws.
    """

    def __init__(self, scans, painted, levels, *, size: int, batch: int, seed: int):
        self.painted, self.levels = painted, levels
        self.size, self.batch, self.seed = size, batch, seed
        self.pools: dict[str, list[list[TrainingScan]]] = {}
        for kind in ("labelled", "unlabelled"):
            subjects: dict[str, list[TrainingScan]] = {}
            for scan in scans:
                if scan.kind == kind:
                    subjects.setdefault(scan.subject, []).append(scan)
            self.pools[kind] = list(subjects.values())

    def make(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
        """Return windows, targets, which targets are known, and the kinds of the windows.

        Returns
        -------
        windows : torch.Tensor
            float32, (batch, 1, size, size), standardised.
        targets : torch.Tensor
            float32, (batch, 2, size, size): GM and cord.
        known : torch.Tensor
            float32, (batch, 2, 1, 1): 1 where the target is known.
        kinds : list of str
            Key of `SHARES` for each window.
        """
        rng = np.random.default_rng([self.seed, step])
        sources, zeros, kinds = [], [], []
        while len(sources) < self.batch:
            source, zero, kind = self._draw(rng)
            if np.isfinite(source[0]).all():
                sources.append(source)
                zeros.append(zero)
                kinds.append(kind)
        values = torch.from_numpy(np.stack(sources))
        known = torch.isfinite(values[:, 1:]).all(dim=(2, 3), keepdim=True).float()
        zero = torch.tensor(np.array(zeros, np.float32)).view(-1, 1, 1, 1)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        windows, targets = _augmented(torch.nan_to_num(values), zero, generator)
        start = (WINDOW - self.size) // 2
        part = (..., slice(start, start + self.size), slice(start, start + self.size))
        return windows[part].contiguous(), targets[part].contiguous(), known, kinds

    def _draw(self, rng) -> tuple[np.ndarray, float, str]:
        """Return image, GM and cord, (3, SOURCE, SOURCE); the level of scan value 0; the kind."""
        kind = rng.choice(list(SHARES), p=list(SHARES.values()))
        if kind == "painted":
            k = rng.integers(len(self.painted))
            mean, std = self.levels[k]
            return self.painted[k].astype(np.float32), -mean / std, kind
        subject = self.pools[kind][rng.integers(len(self.pools[kind]))]
        scan = subject[rng.integers(len(subject))]
        k = rng.integers(len(scan.image))
        row = column = _MIDDLE - SOURCE // 2
        if rng.random() < FAR_SHARE:
            angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(40, 96)
            row += round(distance * np.cos(angle))
            column += round(distance * np.sin(angle))
        part = (k, slice(row, row + SOURCE), slice(column, column + SOURCE))
        image = (scan.image[part] - scan.mean) / scan.std
        return np.stack([image, scan.gm[part], scan.cord[part]]), -scan.mean / scan.std, kind


def _augmented(values: torch.Tensor, zero: torch.Tensor, generator: torch.Generator):
    """Return windows and targets after random changes of shape, intensity and field of view."""
    random = _Random(len(values), generator)
    grid = _sampling_grid(random)
    # beyond the source lies the rest of the scan, which is unknown: its border is repeated
    image = grid_sample(values[:, :1], grid, align_corners=True, padding_mode="border")
    targets = grid_sample(values[:, 1:], grid, align_corners=True).clamp(0, 1)
    raw = _changed_intensities(image - zero, random)
    keep = _field_of_view(random)
    raw, targets = raw * keep, targets * keep
    mean = raw.mean(dim=(2, 3), keepdim=True)
    std = raw.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    # the level of a scan is that of all its windows, not of this one alone
    windows = (raw - mean) / std * random.uniform(0.85, 1.15) + random.uniform(-0.2, 0.2)
    return windows, targets


class _Random:
    """Random numbers, one for each window: (n, 1, 1, 1)."""

    def __init__(self, count: int, generator: torch.Generator):
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(self.count, 1, 1, 1, generator=self.generator)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(self.count, *(shape or (1, 1, 1)), generator=self.generator)

    def where(self, share: float, values: torch.Tensor, other: float) -> torch.Tensor:
        return torch.where(self.uniform(0, 1) < share, values, torch.tensor(other))


def _sampling_grid(random: _Random) -> torch.Tensor:
    """Return where windows are sampled: affine and elastic, in units of `grid_sample`."""
    axis = torch.arange(WINDOW) - (WINDOW - 1) / 2
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    angle = torch.deg2rad(random.normal() * 8)
    scale, stretch = torch.exp(random.normal() * 0.10), torch.exp(random.normal() * 0.06)
    flip = random.where(0.5, torch.tensor(-1.0), 1.0)
    elastic = random.normal(2, 6, 6) * random.uniform(0, 1.8)
    elastic = interpolate(elastic, (WINDOW, WINDOW), mode="bicubic", align_corners=True)
    rows = rows + random.uniform(-24, 24) + elastic[:, :1]
    columns = columns + random.uniform(-24, 24) + elastic[:, 1:]
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    from_rows = cosine * stretch * flip * rows - sine / stretch * columns
    from_columns = sine * stretch * flip * rows + cosine / stretch * columns
    return torch.stack([from_columns, from_rows], -1)[:, 0] / ((SOURCE - 1) / 2)


def _changed_intensities(raw: torch.Tensor, random: _Random) -> torch.Tensor:
    """Change resolution, sharpness, gamma, bias field and noise; scan value 0 is 0."""
    size = raw.shape[2:]
    factors = torch.where(random.uniform(0, 1) < 0.3, random.uniform(1.2, 3.2), 1.0).flatten()
    coarse = []
    for one, factor in zip(raw, factors.tolist(), strict=True):
        if factor > 1:
            small = interpolate(one[None], scale_factor=1 / factor, mode="area")
            one = interpolate(small, size, mode="bilinear", align_corners=False)[0]
        coarse.append(one)
    raw = torch.stack(coarse)
    blurred = avg_pool2d(pad(raw, (2, 2, 2, 2), mode="replicate"), 5, 1)
    raw = (raw + random.where(0.2, random.uniform(0, 1.2), 0.0) * (raw - blurred)).clamp(min=0)
    top = raw.amax(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    raw = (raw / top) ** random.where(0.4, torch.exp(random.uniform(-0.35, 0.35)), 1.0) * top
    bias = random.normal(1, 3, 3) * random.uniform(0, 0.25)
    raw = raw * torch.exp(interpolate(bias, size, mode="bicubic", align_corners=True))
    noise = random.where(0.5, random.uniform(0, 0.18), 0.0)
    return (raw + noise * random.normal(*raw.shape[1:])).abs()


def _field_of_view(random: _Random) -> torch.Tensor:
    """Return 1 within the field of view of each window: of all, or of a small rectangle."""
    axis = torch.arange(WINDOW) - (WINDOW - 1) / 2
    inside = []
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        half = random.uniform(12.5, 28) / 0.25 / 2
        middle = random.uniform(-0.25, 0.25) * half
        inside.append((axis.view(shape) - middle).abs() < half)
    small = (inside[0] & inside[1]).float()
    return torch.where(random.uniform(0, 1) < SMALL_FIELD_SHARE, small, torch.ones(()))
