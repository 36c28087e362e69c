"""What a segmentation consists of: masks and soft segmentations of GM, white matter and cord."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from gmseg.inference.summary import Summary
from gmseg.io.image import like_scan

TYPES = {
    "mask": np.uint8,
    "soft": np.float32,
    "spread": np.float32,
    "wm": np.uint8,
    "wm_soft": np.float32,
    "cord": np.uint8,
    "cord_soft": np.float32,
}
"""Outputs of a segmentation, and the types of their voxels."""
OF_CORD = ("wm", "wm_soft", "cord", "cord_soft")
"""Outputs that only a model with a cord output has."""
CORD_THRESHOLD = 0.5
"""A voxel is cord where the soft segmentation of the cord is larger."""


@dataclass(frozen=True)
class Segmentation:
    """The gray matter of a scan, and its cord and white matter (WM) if the model has them.

    Attributes
    ----------
    mask : nibabel.Nifti1Image
        uint8, 1 is GM, on the scan's grid.
    soft : nibabel.Nifti1Image
        float32, probability of GM, on the scan's grid.
    summary : gmseg.inference.summary.Summary
        Settings and measurements.
    spread : nibabel.Nifti1Image or None
        float32, on the scan's grid: standard deviation over the TTA copies (uncertainty); None
        without TTA.
    cord_soft : nibabel.Nifti1Image or None
        float32, probability of cord, on the scan's grid; None if the model has no cord output.
    """

    mask: nib.Nifti1Image
    soft: nib.Nifti1Image
    summary: Summary
    spread: nib.Nifti1Image | None = None
    cord_soft: nib.Nifti1Image | None = None

    @property
    def cord(self) -> nib.Nifti1Image | None:
        """Cord mask, uint8; None if the model has no cord output."""
        return self._of_cord("cord")

    @property
    def wm(self) -> nib.Nifti1Image | None:
        """WM mask, uint8: cord without GM; None if the model has no cord output."""
        return self._of_cord("wm")

    @property
    def wm_soft(self) -> nib.Nifti1Image | None:
        """Soft segmentation of WM, float32; None if the model has no cord output."""
        return self._of_cord("wm_soft")

    def _of_cord(self, kind: str) -> nib.Nifti1Image | None:
        if self.cord_soft is None:
            return None
        mask, soft, cord_soft = (
            np.asanyarray(image.dataobj) for image in (self.mask, self.soft, self.cord_soft)
        )
        return like_scan(self.mask, tissues(mask, soft, cord_soft)[kind])


def tissues(mask: np.ndarray, soft: np.ndarray, cord_soft: np.ndarray) -> dict[str, np.ndarray]:
    """Return cord and WM of the same shape as a GM mask, its soft segmentation and the cord's.

    Examples
    --------
    >>> parts = tissues(np.array([1, 0, 0]), np.array([0.9, 0.2, 0]), np.array([0.95, 0.9, 0.1]))
    >>> parts["cord"], parts["wm"], parts["wm_soft"].round(2)
    (array([1, 1, 0], dtype=uint8), array([0, 1, 0], dtype=uint8), array([0.05, 0.7 , 0.1 ]))
    """
    cord = cord_soft > CORD_THRESHOLD
    return {
        "cord": cord.astype(np.uint8),
        "wm": (cord & (mask == 0)).astype(np.uint8),
        "wm_soft": np.maximum(cord_soft - soft, 0),
    }
