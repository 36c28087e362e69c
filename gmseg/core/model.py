"""What a model is: the content of its card."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gmseg.core.resampling import WORKING_SPACING_MM


@dataclass(frozen=True)
class Model:
    """A model without its weights: the content of ``NAME.json``.

    Attributes
    ----------
    name : str
        Name of the model.
    weights : pathlib.Path
        Weights file.
    weights_sha256 : str
        Checksum of the weights file.
    network : dict
        Sizes of the network, see `gmseg.core.network.NetworkSizes`.
    voxel_size_mm : float
        Spacing of the working grid in plane, at which the network was trained.
    window : int
        Rows and columns of the window, in pixels of that spacing.
    standardise : {"volume", "training"}
        Source of mean and standard deviation: the scan's windows or the training set.
    mean, std : float or None
        Those of the training set, in scan values; None where only ``"volume"`` makes sense.
    threshold : float
        A voxel is gray matter where the soft segmentation is larger.
    threshold_grid : {"native"}
        Grid on which the threshold is applied.
    trained_on, command, commit : str
        Provenance.
    scores : list of dict
        What the model scores, on which scans and how that was measured.
    confidence : list of [float, float] or None
        Curve from soft Dice to expected Dice, see `gmseg.inference.quality.expected_dice`; None
        where it was not measured.
    graphs : dict or None
        Checksum of the exported graph (``"window"``) and of the weights that it was made from
        (``"of"``); None without a graph.
    about : dict of str or None
        Advice in one line each: what the model is for (``"use"``), how good (``"quality"``) and how
        fast (``"speed"``) it is, and its ``"licence"``.
    """

    name: str
    weights: Path
    weights_sha256: str
    network: dict
    voxel_size_mm: float = WORKING_SPACING_MM
    window: int = 200
    standardise: str = "volume"
    mean: float | None = None
    std: float | None = None
    threshold: float = 0.5
    threshold_grid: str = "native"
    trained_on: str = "unknown"
    command: str = "unknown"
    commit: str = "unknown"
    scores: list = field(default_factory=list)
    confidence: list | None = None
    graphs: dict | None = None
    about: dict | None = None

    @property
    def has_cord(self) -> bool:
        """Whether the network has a second output, the cord."""
        return self.network.get("outputs", 1) > 1
