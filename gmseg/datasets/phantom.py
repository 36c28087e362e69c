"""Synthetic phantoms of the cervical cord, alone or in the layout of the GM Challenge.

A phantom is a set of smooth shapes in world millimetres (cord, gray matter, dural sac, vertebra,
muscles, outline of the neck) that change along the cord and differ between seeds. They are drawn
with sub-voxel coverage and passed through a small model of the scanner. The shapes depend on the
seed alone, not on the grid.
"""

from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

from gmseg.datasets.anatomy import (
    cord_shapes,
    coverage,
    draw_subject,
    paint_neck,
    paint_sac,
    section_at,
)
from gmseg.datasets.scanner import SITES, Site, acquire
from gmseg.errors import InputError
from gmseg.io.files import write_text
from gmseg.io.image import write_images

_NECK_MM = 0.3  # sampling of the shapes outside the cord, about
_SAC_MM = 12.5  # half side of the square that contains the dural sac


class Phantom(NamedTuple):
    """A synthetic scan and its exact labels.

    Attributes
    ----------
    image : nibabel.Nifti1Image
        The scan, int16, LAS orientation, shape (x, y, slices).
    mask : nibabel.Nifti1Image
        Labels on the same grid, uint8: 0 background, 1 gray matter, 2 white matter.
    gm_fraction : numpy.ndarray
        Share of each voxel that is gray matter, 0 to 1, float32, shape of the image.
    gm_area_mm2 : numpy.ndarray
        Area of the gray matter in each slice, measured on the shapes and not on the grid.
    levels : list of str
        Vertebral level of each slice, ``"C1"`` to ``"C7"`` or ``"T1"``.
    centre_mm : numpy.ndarray
        World x and y of the cord's centre in each slice, shape (slices, 2).
    """

    image: nib.Nifti1Image
    mask: nib.Nifti1Image
    gm_fraction: np.ndarray
    gm_area_mm2: np.ndarray
    levels: list[str]
    centre_mm: np.ndarray


class _Grid(NamedTuple):
    """World position of the first voxel, step from voxel to voxel, and number of voxels."""

    first_mm: np.ndarray
    step_mm: np.ndarray
    shape: tuple[int, int, int]

    @property
    def heights_mm(self):
        """World z of every slice."""
        return self.first_mm[2] + self.step_mm[2] * np.arange(self.shape[2])


def make_phantom(
    *,
    seed,
    spacing_mm=(0.5, 0.5, 5.0),
    shape=(96, 96, 8),
    site=1,
    noise=None,
    bias=None,
    acquired_mm=None,
    drift_mm=0.6,
    offset_mm=(0.0, 0.0),
    level=None,
    supersample=4,
) -> Phantom:
    """Make an axial T2*-weighted scan of a synthetic cervical cord, with its exact labels.

    Parameters
    ----------
    seed : int
        Seed of the subject and the noise. The same seed on another grid is the same cord.
    spacing_mm, shape : tuple of 3
        Voxel size in mm and number of voxels, along x, y and z; at least 16 x 16 x 1 voxels.
    site : int
        Number, from 1, of the site in `SITES` whose contrast and acquisition are used.
    noise, bias, acquired_mm : float, optional
        Noise's standard deviation over the CSF's signal, strength of the shading, and in-plane
        resolution in mm, in place of the site's.
    drift_mm : float
        Amplitude of the cord's sideways drift along the slices.
    offset_mm : tuple of 2 floats
        World x and y of the cord's mean centre; the image's centre is world (0, 0, 0).
    level : float, optional
        Vertebral level in the middle of the scan, 4.0 being the middle of C4; otherwise random.
    supersample : int
        Samples per voxel along x and y, at least 4.

    Raises
    ------
    gmseg.errors.InputError
        If a number cannot be used.

    Examples
    --------
    >>> make_phantom(seed=0, shape=(64, 64, 1)).image.shape
    (64, 64, 1)
    """
    _check_seed(seed)
    grid = _grid(spacing_mm, shape)
    if drift_mm < 0 or supersample < 4:
        raise InputError("drift_mm must be 0 or more, and supersample 4 or more")
    chosen = {"noise": noise, "bias": bias, "acquired_mm": acquired_mm}
    settings = _settings(site, chosen)._replace(spacing_mm=spacing_mm)
    subject = draw_subject(seed, drift_mm)
    level = subject.level if level is None else level
    sections = [section_at(subject, z, offset_mm, level) for z in grid.heights_mm]
    slices = [_draw_slice(subject, section, grid, supersample, settings) for section in sections]
    ideal, gm, cord = (np.stack(part, axis=2) for part in zip(*slices, strict=True))
    scan = acquire(ideal, np.random.default_rng([seed, 1]), settings)
    return _phantom(scan * settings.gain, gm, cord, grid, subject, sections)


def _settings(site, chosen) -> Site:
    """Return a site with the chosen values that are not None."""
    if site not in range(1, len(SITES) + 1):
        raise InputError(f"site ({site!r}) must be one of 1 to {len(SITES)}")
    settings = SITES[site - 1]._replace(**{k: v for k, v in chosen.items() if v is not None})
    if not settings.acquired_mm > 0 or settings.noise < 0:
        raise InputError("acquired_mm must be above 0, and noise 0 or more")
    return settings


def _draw_slice(subject, section, grid, supersample, tissue):
    """Return ideal signal, share of GM and share of cord, float32 (x, y), of one slice."""
    spacing_mm = float(min(np.abs(grid.step_mm[:2])))
    fine_mm = spacing_mm / supersample
    coarse = max(1, round(spacing_mm / _NECK_MM))  # samples per voxel outside the cord
    x, y = (_samples(grid, axis, (0, grid.shape[axis]), coarse) for axis in (0, 1))
    neck = paint_neck(subject, section, x, y, spacing_mm / coarse, tissue)
    ideal = _pooled(neck, coarse).astype(np.float32)
    gm, cord = np.zeros_like(ideal), np.zeros_like(ideal)
    spans = [_span(grid, axis, section.centre[axis]) for axis in (0, 1)]
    if all(count for _, count in spans):
        x, y = (_samples(grid, axis, spans[axis], supersample) for axis in (0, 1))
        box = tuple(slice(start, start + count) for start, count in spans)
        value, inside, in_gm, in_cord = paint_sac(subject, section, x, y, fine_mm, tissue)
        ideal[box] *= 1 - _pooled(inside, supersample)
        ideal[box] += _pooled(inside * value, supersample)
        gm[box], cord[box] = _pooled(in_gm, supersample), _pooled(in_cord, supersample)
    return ideal, gm, cord


def _samples(grid, axis, span, parts):
    """Return world coordinates of the centres of `parts` parts of every voxel of a span."""
    start, count = span
    first, step = grid.first_mm[axis] + grid.step_mm[axis] * start, grid.step_mm[axis]
    return (first + step * ((np.arange(count * parts) + 0.5) / parts - 0.5)).astype(np.float32)


def _pooled(array, parts):
    nx, ny = (n // parts for n in array.shape)
    return array.reshape(nx, parts, ny, parts).mean((1, 3))


def _span(grid, axis, centre) -> tuple[int, int]:
    """Return the first voxel and the number of voxels that contain the dural sac along an axis."""
    first, step, count = grid.first_mm[axis], grid.step_mm[axis], grid.shape[axis]
    ends = sorted((centre + sign * _SAC_MM - first) / step for sign in (-1, 1))
    start = min(max(int(np.floor(ends[0])), 0), count)
    return start, max(min(int(np.ceil(ends[1])) + 1, count) - start, 0)


def _phantom(scan, gm, cord, grid, subject, sections) -> Phantom:
    affine = np.diag([*grid.step_mm, 1.0])
    affine[:3, 3] = grid.first_mm
    labels = np.where(gm >= 0.5, 1, np.where(cord >= 0.5, 2, 0))
    levels = [min(max(round(section.level), 1), 8) for section in sections]
    return Phantom(
        image=_nifti(np.clip(np.rint(scan), 0, 32767), affine, np.int16),
        mask=_nifti(labels, affine, np.uint8),
        gm_fraction=gm,
        gm_area_mm2=np.array([_gm_area_mm2(subject, section) for section in sections]),
        levels=[f"C{number}" if number < 8 else "T1" for number in levels],
        centre_mm=np.array([section.centre for section in sections]),
    )


def _gm_area_mm2(subject, section, step_mm=0.05):
    """Return the area of the gray matter in one slice, on a fixed fine grid around the cord."""
    offsets = np.arange(-5.5 + step_mm / 2, 5.5, step_mm)
    x, y = (np.float32(centre + offsets) for centre in section.centre)
    _, gm, _, _ = cord_shapes(subject, section, x, y)
    return float(coverage(gm, step_mm).sum(dtype=float) * step_mm**2)


def _nifti(array, affine, dtype):
    image = nib.Nifti1Image(array.astype(dtype), affine, dtype=dtype)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm", "sec")
    return image


def _check_seed(seed):
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed ({seed!r}) must be a whole number, 0 or more")


def _grid(spacing_mm, shape) -> _Grid:
    """Return a grid in LAS orientation about world (0, 0, 0), or refuse its numbers."""
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise InputError(f"spacing_mm ({spacing_mm}) must be three lengths above 0")
    if len(shape) != 3 or min(shape[:2]) < 16 or shape[2] < 1:
        raise InputError(f"shape ({shape}) must be at least (16, 16, 1)")
    step = np.array([-spacing_mm[0], spacing_mm[1], spacing_mm[2]], float)
    return _Grid(-step * (np.array(shape) - 1) / 2, step, shape)


# --- folders --------------------------------------------------------------------------------------


def write_challenge(
    folder, *, subjects=10, sites=4, raters=4, seed=0, shape=None, overwrite=False
) -> list[Path]:
    """Write synthetic scans in the layout of the Spinal Cord Gray Matter Challenge 2016.

    Every subject of every site has ``site1-sc01-image.nii.gz``, one mask per rater
    ``site1-sc01-mask-r1.nii.gz`` (0 background, 1 gray matter, 2 white matter) and
    ``site1-sc01-levels.txt``, with a line ``k,LEVEL`` per slice such as ``0,C5``, counted
    from 0 at the lowest slice (a format of this package). The raters disagree about the
    borders; later ones draw larger areas.

    Parameters
    ----------
    folder : path-like
        Output folder; created if missing.
    subjects, sites, raters : int
        Subjects per site (1 to 99), number of `SITES` (1 to 4), and masks per subject (1 to 9).
    seed : int
        Seed of everything. A subject does not depend on how many others are written.
    shape : tuple of 3 ints, optional
        Voxels along x, y and z for every site, in place of the site's own.
    overwrite : bool
        Whether to replace files of the same names. Other files are left alone.

    Returns
    -------
    list of pathlib.Path
        The files, in the order in which they were written.

    Raises
    ------
    gmseg.errors.InputError
        If the folder contains such files and `overwrite` is false, the folder cannot be created,
        or a number cannot be used. Nothing is written then.
    """
    _check_seed(seed)
    counts = (("subjects", subjects, 99), ("sites", sites, len(SITES)), ("raters", raters, 9))
    for name, value, most in counts:
        if value not in range(1, most + 1):
            raise InputError(f"{name} ({value!r}) must be a whole number from 1 to {most}")
    if shape is not None:
        _grid(SITES[0].spacing_mm, shape)
    folder = _create_folder(folder, "site*-sc*-*", overwrite)
    written = []
    for site in range(1, sites + 1):
        for number in range(1, subjects + 1):
            written += _write_subject(folder, site, number, raters, seed, shape, overwrite)
    return written


def _write_subject(folder, site, number, raters, seed, shape, overwrite) -> list[Path]:
    """Write the scan, masks and levels of one subject of a synthetic challenge."""
    rng = np.random.default_rng([seed, site, number])
    phantom = make_phantom(
        seed=int(rng.integers(2**31)),
        spacing_mm=SITES[site - 1].spacing_mm,
        shape=SITES[site - 1].shape if shape is None else shape,
        site=site,
        offset_mm=tuple(rng.uniform(-3, 3, 2)),
    )
    stem = f"site{site}-sc{number:02d}"
    images = {folder / f"{stem}-image.nii.gz": phantom.image}
    for rater in range(1, raters + 1):
        rater_rng = np.random.default_rng([seed, site, number, rater])
        mask = _rater_mask(phantom, rater, rater_rng)
        images[folder / f"{stem}-mask-r{rater}.nii.gz"] = mask
    write_images(images, overwrite=overwrite)
    levels = folder / f"{stem}-levels.txt"
    text = "".join(f"{k},{level}\n" for k, level in enumerate(phantom.levels))
    write_text(levels, text, overwrite=overwrite)
    return [*images, levels]


def _rater_mask(phantom, rater, rng):
    """Return the labels as a rater would draw them: smooth borders, a bias, small errors."""
    spacing_mm = np.array(phantom.mask.header.get_zooms(), float)
    labels = np.asarray(phantom.mask.dataobj)
    blur, reach = 0.3 / spacing_mm * (1, 1, 0), 1.2 / spacing_mm * (1, 1, 0)

    def error():
        field = gaussian_filter(rng.standard_normal(labels.shape), reach)
        return field / field.std()

    bias = 0.03 * (rater - 2.5) + 0.02 * rng.standard_normal()
    gm = gaussian_filter(phantom.gm_fraction, blur) + 0.11 * error() > 0.47 - bias
    cord = gaussian_filter((labels > 0).astype(np.float32), blur) + 0.11 * error() > 0.5 - bias
    return _nifti(np.where(cord & gm, 1, np.where(cord, 2, 0)), phantom.mask.affine, np.uint8)


def write_sample(folder, *, seed=7, overwrite=False) -> list[Path]:
    """Write one small synthetic scan and the mask of its gray matter.

    Parameters
    ----------
    folder : path-like
        Output folder for ``phantom_t2s.nii.gz`` (int16, 128 x 128 x 10 voxels of
        0.5 x 0.5 x 5 mm) and ``phantom_t2s_gm.nii.gz`` (uint8, 1 gray matter); created if
        missing.
    seed : int
        Seed of the phantom.
    overwrite : bool
        Whether to replace files of the same names.

    Returns
    -------
    list of pathlib.Path
        The scan's file and the mask's.

    Raises
    ------
    gmseg.errors.InputError
        If the files exist and `overwrite` is false, or the folder cannot be created.
    """
    _check_seed(seed)
    folder = _create_folder(folder, "phantom_t2s*.nii.gz", overwrite)
    phantom = make_phantom(seed=seed, shape=(128, 128, 10))
    gm = _nifti(np.asarray(phantom.mask.dataobj) == 1, phantom.mask.affine, np.uint8)
    written = [folder / "phantom_t2s.nii.gz", folder / "phantom_t2s_gm.nii.gz"]
    write_images(dict(zip(written, (phantom.image, gm), strict=True)), overwrite=overwrite)
    return written


def _create_folder(folder, pattern, overwrite) -> Path:
    """Create a folder if missing; refuse one that contains files of a pattern."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give a folder to write into")
    existing = sorted(folder.glob(pattern))
    if existing and not overwrite:
        raise InputError(
            f"{existing[0]}: exists; set `overwrite=True` to replace it, or give another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be created ({error.strerror}); give another folder"
        ) from error
    return folder
