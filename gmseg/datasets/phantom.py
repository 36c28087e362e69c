"""Made-up cervical cords with known truth, written in the challenge's layout.

A phantom is a set of smooth shapes in world millimetres (cord, gray matter, dural sac, vertebra,
muscles, outline of the neck) that change along the cord and from seed to seed. They are painted
with sub-voxel coverage, then go through a small model of the scanner: limited resolution,
uneven coil sensitivity, Rician noise. The shapes depend on the seed alone, never on the grid.
"""

from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter

from gmseg.datasets.anatomy import (
    cord_shapes,
    coverage,
    cut_at,
    draw_subject,
    paint_neck,
    paint_sac,
)
from gmseg.errors import InputError


class Site(NamedTuple):
    """What a made-up site's scans look like; the values of the tissues are relative."""

    spacing_mm: tuple
    shape: tuple
    acquired_mm: float
    noise: float
    bias: float
    gain: float
    csf: float
    gm: float
    wm: float
    muscle: float
    bone: float
    fat: float
    vessel: float
    septum: float


SITES = (
    Site(
        spacing_mm=(0.5, 0.5, 5.0),
        shape=(128, 128, 8),
        acquired_mm=0.6,
        noise=0.022,
        bias=0.25,
        gain=420,
        csf=1.0,
        gm=0.61,
        wm=0.48,
        muscle=0.37,
        bone=0.13,
        fat=0.55,
        vessel=1.0,
        septum=0.15,
    ),
    Site(
        spacing_mm=(0.65, 0.65, 7.5),
        shape=(112, 112, 6),
        acquired_mm=0.65,
        noise=0.024,
        bias=0.30,
        gain=900,
        csf=0.9,
        gm=0.63,
        wm=0.50,
        muscle=0.42,
        bone=0.17,
        fat=0.50,
        vessel=0.95,
        septum=0.20,
    ),
    Site(
        spacing_mm=(0.25, 0.25, 2.5),
        shape=(224, 224, 12),
        acquired_mm=0.45,
        noise=0.032,
        bias=0.20,
        gain=1500,
        csf=1.0,
        gm=0.66,
        wm=0.52,
        muscle=0.34,
        bone=0.10,
        fat=0.65,
        vessel=0.9,
        septum=0.12,
    ),
    Site(
        spacing_mm=(0.3, 0.3, 5.0),
        shape=(200, 200, 8),
        acquired_mm=0.6,
        noise=0.026,
        bias=0.35,
        gain=250,
        csf=1.0,
        gm=0.74,
        wm=0.57,
        muscle=0.45,
        bone=0.20,
        fat=0.75,
        vessel=1.0,
        septum=0.18,
    ),
)
"""Four made-up sites: grid, resolution, noise and bias as fractions, tissue intensities."""


class Phantom(NamedTuple):
    """A made-up scan and the truth about it.

    Attributes
    ----------
    image : nibabel.Nifti1Image
        The scan, int16, LAS orientation, shape (x, y, slices).
    mask : nibabel.Nifti1Image
        The truth on the same grid, uint8: 0 background, 1 gray matter, 2 white matter.
    gm_fraction : numpy.ndarray
        Part of each voxel that is gray matter, 0 to 1, float32, shape of the image.
    gm_area_mm2 : numpy.ndarray
        Area of the gray matter in each slice, measured on the shapes and not on the grid.
    levels : list of str
        The vertebral level of each slice, ``"C1"`` to ``"C7"`` or ``"T1"``.
    centre_mm : numpy.ndarray
        World x and y of the cord's centre in each slice, shape (slices, 2).
    """

    image: nib.Nifti1Image
    mask: nib.Nifti1Image
    gm_fraction: np.ndarray
    gm_area_mm2: np.ndarray
    levels: list
    centre_mm: np.ndarray


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
):
    """Make one axial T2*-weighted scan of a made-up cervical cord, and the truth about it.

    Parameters
    ----------
    seed : int
        Decides the subject and the noise. The subject does not depend on the grid: the same
        seed on a finer grid is the same cord.
    spacing_mm : tuple of 3 floats
        Voxel size along x, y and z, in mm.
    shape : tuple of 3 ints
        Voxels along x, y and z: at least 16 in plane and one slice.
    site : int
        Which of the made-up `SITES` (1 to 4) lends its contrast, resolution, noise and bias.
    noise : float, optional
        Standard deviation of the noise as a part of the CSF's value; the site's own if left out.
    bias : float, optional
        Strength of the uneven brightness, 0 for none; the site's own if left out.
    acquired_mm : float, optional
        In-plane resolution of the acquisition; the site's own if left out.
    drift_mm : float
        How far the cord's centre wanders to each side along the slices.
    offset_mm : tuple of 2 floats
        World x and y of the cord's mean centre; the image's centre is world (0, 0, 0).
    level : float, optional
        Vertebral level in the middle of the scan, 4.0 being the middle of C4; otherwise drawn
        from the seed. Beyond C1 and T1 the shapes stay as they are there.
    supersample : int
        Each voxel of the cord is painted in supersample x supersample parts, at least 4.

    Returns
    -------
    Phantom
        Scan, mask, fractions, areas, levels and centres.

    Raises
    ------
    InputError
        A seed, grid, site or other number that makes no sense.

    Examples
    --------
    >>> phantom = make_phantom(seed=0, shape=(64, 64, 2))
    >>> phantom.image.shape
    (64, 64, 2)
    """
    _check_seed(seed)
    _check_grid(spacing_mm, shape)
    if site not in range(1, len(SITES) + 1):
        raise InputError(f"site ({site!r}) must be one of 1 to {len(SITES)}")
    tissue = SITES[site - 1]
    noise = tissue.noise if noise is None else noise
    bias = tissue.bias if bias is None else bias
    acquired_mm = tissue.acquired_mm if acquired_mm is None else acquired_mm
    if not acquired_mm > 0:
        raise InputError("acquired_mm must be more than 0")
    if noise < 0 or drift_mm < 0 or supersample < 4:
        raise InputError("noise and drift_mm must be 0 or more, and supersample 4 or more")
    subject = draw_subject(seed, drift_mm)
    level = subject.level if level is None else level
    step = np.array([-spacing_mm[0], spacing_mm[1], spacing_mm[2]], float)
    first = -step * (np.array(shape) - 1) / 2
    fine = float(min(spacing_mm[:2])) / supersample
    coarse = max(1, round(fine * supersample / 0.3))  # parts per voxel outside the cord
    edge_mm = fine * supersample / coarse

    ideal, gm, cord = (np.zeros(shape, np.float32) for _ in range(3))
    areas, centres, levels = [], [], []
    for k in range(shape[2]):
        cut = cut_at(subject, first[2] + k * step[2], offset_mm, level)
        axes = [_sub_voxels(first[i], step[i], shape[i], coarse) for i in (0, 1)]
        ideal[..., k] = _pooled(paint_neck(subject, cut, *axes, edge_mm, tissue), coarse)
        near = [_near(first[i], step[i], shape[i], cut.centre[i], 12.5) for i in (0, 1)]
        if all(count for _, count in near):
            axes = [
                _sub_voxels(first[i] + step[i] * near[i][0], step[i], near[i][1], supersample)
                for i in (0, 1)
            ]
            box = (*(slice(start, start + count) for start, count in near), k)
            value, inside, in_gm, in_cord = paint_sac(subject, cut, *axes, fine, tissue)
            ideal[box] *= 1 - _pooled(inside, supersample)
            ideal[box] += _pooled(inside * value, supersample)
            gm[box], cord[box] = _pooled(in_gm, supersample), _pooled(in_cord, supersample)
        areas.append(_gm_area_mm2(subject, cut))
        centres.append(cut.centre)
        nearest = min(max(round(cut.at), 1), 8)
        levels.append(f"C{nearest}" if nearest < 8 else "T1")

    scan = _acquire(
        ideal,
        np.random.default_rng([seed, 1]),
        spacing_mm=spacing_mm[:2],
        acquired_mm=acquired_mm,
        noise=noise * tissue.csf,
        bias=bias,
    )
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = first
    labels = np.where(gm >= 0.5, 1, np.where(cord >= 0.5, 2, 0))
    return Phantom(
        image=_nifti(np.clip(np.rint(scan * tissue.gain), 0, 32767), affine, np.int16),
        mask=_nifti(labels, affine, np.uint8),
        gm_fraction=gm,
        gm_area_mm2=np.array(areas),
        levels=levels,
        centre_mm=np.array(centres),
    )


def write_challenge(folder, *, subjects=10, sites=4, raters=4, seed=0, shape=None, overwrite=False):
    """Write a made-up challenge, laid out like the Spinal Cord Gray Matter Challenge 2016.

    For every subject of every site: ``site1-sc01-image.nii.gz``, one mask per rater
    ``site1-sc01-mask-r1.nii.gz`` (0 background, 1 gray matter, 2 white matter) and
    ``site1-sc01-levels.txt``, with one line ``k,LEVEL`` per slice, such as ``0,C5``, counted
    from 0 at the lowest slice (our own choice of a format). The raters follow the truth and
    disagree about its borders; the later ones draw more than the earlier ones.

    Parameters
    ----------
    folder : str or path
        Where to write; made if it does not exist.
    subjects : int
        Subjects per site, 1 to 99.
    sites : int
        How many of the made-up `SITES`, each with its own grid and look, 1 to 4.
    raters : int
        Masks per subject, 1 to 9.
    seed : int
        Decides everything. A subject's scan does not depend on how many others are written.
    shape : tuple of 3 ints, optional
        Voxels along x, y and z for every site, in place of each site's own.
    overwrite : bool
        Replace files of the same names. Other files in the folder are left alone.

    Returns
    -------
    list of pathlib.Path
        The files, in the order in which they were written.

    Raises
    ------
    InputError
        The folder holds such files already and `overwrite` is not set, the folder cannot be
        made, or a number makes no sense. Nothing is written then.
    """
    _check_seed(seed)
    counts = (("subjects", subjects, 99), ("sites", sites, len(SITES)), ("raters", raters, 9))
    for name, value, most in counts:
        if value not in range(1, most + 1):
            raise InputError(f"{name} ({value!r}) must be a whole number from 1 to {most}")
    if shape is not None:
        _check_grid(SITES[0].spacing_mm, shape)
    folder = _folder(folder, "site*-sc*-*", overwrite)
    written = []
    for site in range(1, sites + 1):
        for number in range(1, subjects + 1):
            rng = np.random.default_rng([seed, site, number])
            phantom = make_phantom(
                seed=int(rng.integers(2**31)),
                spacing_mm=SITES[site - 1].spacing_mm,
                shape=SITES[site - 1].shape if shape is None else shape,
                site=site,
                offset_mm=tuple(rng.uniform(-3, 3, 2)),
            )
            stem = f"site{site}-sc{number:02d}"
            files = {f"{stem}-image.nii.gz": phantom.image}
            for rater in range(1, raters + 1):
                own = np.random.default_rng([seed, site, number, rater])
                files[f"{stem}-mask-r{rater}.nii.gz"] = _drawn_by_rater(phantom, rater, own)
            for name, image in files.items():
                nib.save(image, folder / name)
            lines = [f"{k},{level}\n" for k, level in enumerate(phantom.levels)]
            (folder / f"{stem}-levels.txt").write_text("".join(lines))
            written += [folder / name for name in (*files, f"{stem}-levels.txt")]
    return written


def write_sample(folder, *, seed=7, overwrite=False):
    """Write the sample: one small scan and the true mask of its gray matter.

    Parameters
    ----------
    folder : str or path
        Where to write ``phantom_t2s.nii.gz`` (int16, 128 x 128 x 10 voxels of 0.5 x 0.5 x 5 mm)
        and ``phantom_t2s_gm.nii.gz`` (uint8, 1 gray matter); made if it does not exist.
    seed : int
        Decides everything.
    overwrite : bool
        Replace files of the same names.

    Returns
    -------
    list of pathlib.Path
        The scan's file and the mask's.

    Raises
    ------
    InputError
        The files exist already and `overwrite` is not set, or the folder cannot be made.
    """
    _check_seed(seed)
    folder = _folder(folder, "phantom_t2s*.nii.gz", overwrite)
    phantom = make_phantom(seed=seed, shape=(128, 128, 10))
    gm = _nifti(np.asarray(phantom.mask.dataobj) == 1, phantom.mask.affine, np.uint8)
    written = [folder / "phantom_t2s.nii.gz", folder / "phantom_t2s_gm.nii.gz"]
    nib.save(phantom.image, written[0])
    nib.save(gm, written[1])
    return written


def _folder(folder, pattern, overwrite):
    """The folder as a path, made if need be; refused where it holds files like the pattern."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder to write into")
    found = sorted(folder.glob(pattern))
    if found and not overwrite:
        raise InputError(f"{found[0]} exists already: name another folder, or ask to overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made ({error.strerror}): name another") from error
    return folder


def _drawn_by_rater(phantom, rater, rng):
    """The truth as one rater would draw it: smooth borders, a habit, and small wanderings."""
    spacing_mm = np.array(phantom.mask.header.get_zooms(), float)
    truth = np.asarray(phantom.mask.dataobj)
    blur, reach = 0.3 / spacing_mm * (1, 1, 0), 1.2 / spacing_mm * (1, 1, 0)

    def wandering():
        field = gaussian_filter(rng.standard_normal(truth.shape), reach)
        return field / field.std()

    habit = 0.03 * (rater - 2.5) + 0.02 * rng.standard_normal()
    gm = gaussian_filter(phantom.gm_fraction, blur) + 0.11 * wandering() > 0.47 - habit
    cord = gaussian_filter((truth > 0).astype(np.float32), blur) + 0.11 * wandering() > 0.5 - habit
    return _nifti(np.where(cord & gm, 1, np.where(cord, 2, 0)), phantom.mask.affine, np.uint8)


def _sub_voxels(first, step, count, parts):
    """World coordinates of the middles of the `parts` parts of each of `count` voxels."""
    return (first + step * ((np.arange(count * parts) + 0.5) / parts - 0.5)).astype(np.float32)


def _pooled(array, parts):
    nx, ny = (n // parts for n in array.shape)
    return array.reshape(nx, parts, ny, parts).mean((1, 3))


def _near(first, step, count, centre, reach_mm):
    """First voxel and number of voxels within reach of the centre along one axis."""
    ends = sorted((centre + sign * reach_mm - first) / step for sign in (-1, 1))
    start = min(max(int(np.floor(ends[0])), 0), count)
    return start, max(min(int(np.ceil(ends[1])) + 1, count) - start, 0)


def _gm_area_mm2(subject, cut, step_mm=0.05):
    """Area of the gray matter in one slice, on a fixed fine grid around the cord."""
    offsets = np.arange(-5.5 + step_mm / 2, 5.5, step_mm)
    x, y = (np.float32(centre + offsets) for centre in cut.centre)
    _, gm, _, _ = cord_shapes(subject, cut, x, y)
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


def _check_grid(spacing_mm, shape):
    if len(spacing_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise InputError(f"spacing_mm ({spacing_mm}) must be three lengths above 0")
    if len(shape) != 3 or min(shape[:2]) < 16 or shape[2] < 1:
        raise InputError(f"shape ({shape}) must be at least (16, 16, 1)")


def _acquire(ideal, rng, *, spacing_mm, acquired_mm, noise, bias):
    """Limited resolution, coil sensitivity and Rician noise of the given standard deviation."""
    padded = np.pad(ideal, [(16, 16), (16, 16), (0, 0)], mode="symmetric")
    frequency = [np.fft.fftfreq(n, d) for n, d in zip(padded.shape[:2], spacing_mm, strict=False)]
    keep = 1.0
    for f, axes in zip(frequency, ((slice(None), None), (None, slice(None))), strict=True):
        edge = np.abs(f) * 2 * acquired_mm  # 1 at the edge of what was sampled
        keep = keep * np.clip((1.08 - edge) / 0.35, 0, 1)[axes]
    axes = [np.linspace(-1, 1, n) for n in ideal.shape]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    c = rng.uniform(-1, 1, 5)
    slope = 0.5 * (c[0] * x + c[1] * z + c[2] * x * y - 0.6 * y) - 0.4 * (1 + 0.4 * c[3]) * (y**2)
    sensitivity = np.exp(bias * (slope - 0.3 * x**2 + 0.2 * c[4] * z**2))

    def limited(volume):
        return np.fft.ifft2(np.fft.fft2(volume, axes=(0, 1)) * keep[..., None], axes=(0, 1))

    hiss = rng.standard_normal((2, *padded.shape))
    hiss = limited(hiss[0] + 1j * hiss[1]) / np.sqrt((keep**2).mean())
    inner = (slice(16, -16), slice(16, -16))
    return np.abs(limited(padded)[inner] * sensitivity + noise * hiss[inner])
