"""TODO."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Model:
    """What a model is, apart from its weights: the content of ``NAME.json``.

    Attributes
    ----------
    name : str
    weights : pathlib.Path
        The weights file.
    weights_sha256 : str
        Its checksum.
    network : dict
        Sizes of the network, see `gmseg.core.network.NetworkSizes`.
    voxel_size_mm : float
        In-plane spacing that the network was trained at.
    window : int
        Rows and columns of the window, in pixels of that spacing.
    standardise : {"volume", "training"}
        Whose mean and standard deviation are taken: the scan's windows' or the training
        set's.
    mean, std : float or None
        The training set's, in scan values; None where only ``"volume"`` makes sense.
    threshold : float
        A voxel is gray matter where the soft segmentation is larger.
    threshold_grid : {"native"}
        Where the threshold is applied, once.
    trained_on, command, commit : str
        Provenance.
    scores : list of dict
        What it scores, where and how that was measured.
    confidence : list of [float, float] or None
        What Dice to foretell from the expected one, see `gmseg.inference.quality.expected_dice`; None where that
        was not measured.
    graphs : dict or None
        Of the exported graphs: the checksums of those for a ``"window"`` and for a ``"region"``,
        the region's ``"side"``, and the checksum of the weights that they were made ``"of"``.
        None where there are none.
    """

    name: str
    weights: Path
    weights_sha256: str
    network: dict
    voxel_size_mm: float = 0.25
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
