"""What the QC page and the movie share: slices in one orientation, and the centre of the field."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy import ndimage

from gmseg.core.resampling import reoriented
from gmseg.io.scan_reader import ScanReader

_SMOOTH_MM = 5.0  # sigma along the cord, so that the field moves steadily


def upright(plane: np.ndarray) -> np.ndarray:
    """Return a slice in LAS orientation as an image: anterior at the top, left on the right.

    Examples
    --------
    >>> upright(np.array([["right back", "right front"], ["left back", "left front"]]))
    array([['right front', 'left front'],
           ['right back', 'left back']], dtype='<U11')
    """
    return np.ascontiguousarray(plane[:, ::-1].T)


def smooth_centreline(centres: np.ndarray, step_mm: float, default) -> np.ndarray:
    """Return the centre of the mask on every slice, interpolated and smooth along the cord.

    Parameters
    ----------
    centres : numpy.ndarray
        (slices, 2): centre of the mask on every slice, NaN where the slice has none.
    step_mm : float
        Distance from slice to slice.
    default : array_like
        (2,): centre to return where no slice has a mask.

    Returns
    -------
    numpy.ndarray
        (slices, 2), in the unit of `centres`.

    Examples
    --------
    >>> smooth_centreline(np.array([[4, 2], [np.nan, np.nan], [4, 2]]), 5, (0, 0))
    array([[4., 2.],
           [4., 2.],
           [4., 2.]])
    """
    labelled = np.flatnonzero(np.isfinite(centres[:, 0]))
    positions = np.arange(len(centres))
    if not labelled.size:
        return np.tile(np.asarray(default, float), (len(positions), 1))
    filled = [np.interp(positions, labelled, centres[labelled, axis]) for axis in (0, 1)]
    smooth = ndimage.gaussian_filter1d(filled, _SMOOTH_MM / step_mm, axis=1, mode="nearest")
    return smooth.T


def read_las(reader: ScanReader, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Return slices, counted from inferior to superior, in LAS orientation, and their affine.

    Examples
    --------
    >>> from gmseg.io.scan_reader import array_reader
    >>> data = np.arange(3.0) * np.ones((2, 2, 1))
    >>> read_las(array_reader("scan", data, np.diag([-1, 1, -5, 1])), 0, 1)[0].max()
    np.float32(2.0)
    """
    start, stop = reader.stored_range(first, last)
    return reoriented(reader.read(start, stop), reader.part_affine(start))


def las_slices(
    *readers: ScanReader, step: Callable[[], None], upwards: bool = False
) -> Iterator[tuple]:
    """Yield k, counted from inferior to superior, and slice k of each reader, in LAS orientation.

    Parameters
    ----------
    *readers : gmseg.io.scan_reader.ScanReader
        Readers on one grid; they are read in parts.
    step : callable
        Function called after every slice.
    upwards : bool
        Yield slices from inferior to superior. By default, parts come in the order of the file,
        because going back in a compressed file takes long.
    """
    backwards = readers[0].runs_downwards and not upwards
    for first, last in readers[0].parts()[:: -1 if backwards else 1]:
        volumes = [read_las(reader, first, last)[0] for reader in readers]
        for k in range(first, last):
            yield k, *(volume[..., k - first] for volume in volumes)
            step()
