"""Second opinion: how far another model agrees with a segmentation, slice by slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gmseg.core.model import Model
from gmseg.core.pipeline import predict_windows
from gmseg.core.standardisation import standardised
from gmseg.inference.engines import load_predictor
from gmseg.inference.localisation import remove_far
from gmseg.inference.session import Session


def second_session(session: Session, model: Model) -> Session:
    """Return a session of another model on the same scan, with that model's standardisation."""
    return replace(
        session,
        model=model,
        predict=load_predictor(model),
        standardise=model.standardise,
        progress=None,
        _mean_stds={},
    )


def agreement(
    session: Session,
    slab: tuple[int, int],
    centres: np.ndarray,
    soft: np.ndarray,
    centreline: np.ndarray | None,
) -> np.ndarray:
    """Return the Dice between a segmentation and that of another model, slice by slice.

    Parameters
    ----------
    session : Session
        From `second_session`; its working grid has the spacing of the first model's.
    slab : (int, int)
        First slice and last + 1.
    centres : numpy.ndarray
        int, (slices, 2): centres of the windows, of all slices.
    soft : numpy.ndarray
        (last - first, size, size): GM of the first model in the windows of the slab.
    centreline : numpy.ndarray or None
        (last - first, 2), beyond whose reach GM does not count, see
        `gmseg.inference.localisation.remove_far`.

    Returns
    -------
    numpy.ndarray
        (last - first,); NaN where neither model finds GM.
    """
    first, last = slab
    cut = standardised(session.windows(first, last, centres), *session.mean_and_std(centres))
    other = predict_windows(session.predict, cut)
    if centreline is not None:
        other = remove_far(other, centres[first:last], centreline, session.spacing_mm)
    size = min(soft.shape[-1], other.shape[-1])
    masks = [_middle(part, size) > 0.5 for part in (soft, other[:, 0])]
    both, sizes = (masks[0] & masks[1]).sum(axis=(1, 2)), sum(m.sum(axis=(1, 2)) for m in masks)
    return np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), np.nan)


def _middle(windows: np.ndarray, size: int) -> np.ndarray:
    """Return the middle of windows, around the same centre pixel."""
    start = windows.shape[-1] // 2 - size // 2
    return windows[:, start : start + size, start : start + size]
