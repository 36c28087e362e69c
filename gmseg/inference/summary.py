"""Settings and measurements of a segmentation, as one record."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from gmseg.inference.quality.flags import Flag


@dataclass(frozen=True)
class Summary:
    """Settings and measurements of a segmentation.

    Values per slice are in the order in which the scan stores its slices.

    Attributes
    ----------
    scan : str
        The scan's path, as it was given.
    gmseg_version : str
        Version of gmseg.
    model, model_sha256 : str
        Name of the model, and the checksum of its weights.
    threshold : float
        A voxel is GM where the soft segmentation is larger.
    standardise : {"volume", "training"}
        Source of mean and standard deviation.
    tta, seed : int or None
        Copies and seed of test-time augmentation; None without it.
    within_cord : bool
        Whether GM outside the cord mask was removed.
    clean : tuple of str
        Steps of post-processing.
    window : str
        Where the windows lie: ``"image centre"``, ``"moved to the cord"``,
        ``"found by a search"``, ``"not found"``, ``"cord mask"`` or ``"as given"``.
    window_centre_mm : list of list of float
        Centre of the window of every slice, in world space (x, y, z).
    area_mm2 : list of float
        GM area per slice.
    cord_area_mm2 : list of float or None
        Cord area per slice; None if the model has no cord output.
    volume_mm3 : float
        GM volume.
    expected_dice : list of (float or None)
        Dice that the model predicts for every slice, see
        `gmseg.inference.quality.expected_dice`; None without GM, or without a curve in the model.
    soft_dice : list of (float or None)
        Dice per slice between the soft segmentation and its own mask (soft > 0.5) on the working
        grid; None without GM.
    flags : tuple of Flag
        QC flags.
    seconds : float
        Time from reading the scan to the last voxel.
    """

    scan: str
    gmseg_version: str
    model: str
    model_sha256: str
    threshold: float
    standardise: str
    tta: int | None
    seed: int | None
    within_cord: bool
    clean: tuple[str, ...]
    window: str
    window_centre_mm: list[list[float]]
    area_mm2: list[float]
    cord_area_mm2: list[float] | None
    volume_mm3: float
    expected_dice: list[float | None]
    soft_dice: list[float | None]
    flags: tuple[Flag, ...]
    seconds: float

    def to_dict(self) -> dict:
        """Return the summary ready for JSON.

        ``flags`` contains the texts, ``flag_details`` name, text and slices of each. The file of
        ``gmseg segment --summary`` lists these entries under ``scans``, with ``mask`` and
        ``made_from`` added.
        """
        content = asdict(self)
        details = content.pop("flags")
        seconds = content.pop("seconds")
        return content | {
            "clean": list(self.clean),
            "flags": [flag.text for flag in self.flags],
            "flag_details": [flag | {"slices": list(flag["slices"])} for flag in details],
            "seconds": seconds,
        }
