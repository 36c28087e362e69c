"""All figures of the paper, drawn by gmseg, with captions in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from gmseg.core.model import Model
from gmseg.datasets.folders import LabelledScan, find_scans
from gmseg.datasets.labelled import read_labelled
from gmseg.datasets.phantom import write_challenge
from gmseg.evaluation.evaluate import majority
from gmseg.evaluation.metrics import dice
from gmseg.inference.segment import segment
from gmseg.io.files import atomic_path, check_folder, check_output, write_text
from gmseg.io.image import like_scan
from gmseg.io.tables import as_tsv
from gmseg.models.backend import import_keras
from gmseg.models.registry import load_model
from gmseg.paper.network_diagrams import draw_architecture, draw_receptive_field
from gmseg.paper.published import OUTLIERS, TRANSCRIBED, as_markdown, table_rows
from gmseg.paper.result_figures import draw_boxes, draw_comparison, draw_extremes, draw_results
from gmseg.paper.results import Results, stored_results
from gmseg.paper.sample_figures import draw_pairs, draw_sites
from gmseg.paper.style import DPI
from gmseg.training.augmentation import Augmentation
from gmseg.training.protocol import load_protocol
from gmseg.training.samples import make_batch, prepare_training_set

PAGE = "figures.md"
NAMES = (
    "sites",
    "receptive_field",
    "architecture",
    "augmentation",
    "results",
    "boxes",
    "extremes",
    "unet",
    "exvivo",
)
"""The figures, in the order in which they are drawn."""
_SITES = 4
_SYNTHETIC = "synthetic phantoms"
_SCORED = {"unet": "scan", "exvivo": "slice"}
"""What the scores of a comparison of networks belong to."""


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper.

    Attributes
    ----------
    name : str
        Name of its files.
    caption : str
        Content of the figure, and the source of its data.
    figure : matplotlib.figure.Figure
        The figure itself.
    """

    name: str
    caption: str
    figure: Figure


def make_figures(
    folder,
    *,
    dataset=None,
    results: Results | None = None,
    cases: list[dict] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Draw the paper's figures and write them into a folder, as PNG and as PDF.

    Parameters
    ----------
    folder : path-like
        Created if missing. ``figures.md`` shows all figures, ``results.md`` and ``results.tsv``
        are the table.
    dataset : path-like, optional
        GM Challenge or BIDS folder for the figures of scans; by default a synthetic challenge.
    results : Results, optional
        Results for the table and the boxes; by default the cross-validation on real scans.
    cases : list of dict, optional
        Segmented scans for `gmseg.paper.result_figures.draw_extremes`; by default the default
        model's on a synthetic challenge.
    overwrite : bool
        Replace the files of an earlier call.
    progress : callable, optional
        Called with (figures done, figures in total).

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    gmseg.errors.InputError
        If the dataset cannot be used, or files exist already.
    """
    folder = check_folder(folder)
    names = [f"{name}.{suffix}" for name in NAMES for suffix in ("png", "pdf")]
    files = [folder / name for name in (*names, "results.md", "results.tsv", PAGE)]
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        check_output(file, overwrite=overwrite)
    results = results or stored_results("cross-validation")
    page = ["# The figures of the paper, drawn by gmseg", ""]
    page += ["Perone, Calabrese & Cohen-Adad, Scientific Reports 8:5966 (2018).", ""]
    for done, drawn in enumerate(draw_all(dataset, results, cases), 1):
        _save(drawn.figure, folder / drawn.name, overwrite)
        page += [f"## {drawn.name}", "", f"![{drawn.name}]({drawn.name}.png)", ""]
        page += [drawn.caption, ""]
        if progress is not None:
            progress(done, len(NAMES))
    texts = {
        "results.md": as_markdown(results),
        "results.tsv": as_tsv(table_rows(results), significant=5),
        PAGE: "\n".join(page),
    }
    for name, text in texts.items():
        write_text(folder / name, text, overwrite=overwrite)
    return files


def draw_all(
    dataset=None, results: Results | None = None, cases: list[dict] | None = None
) -> Iterator[PaperFigure]:
    """Draw the paper's figures one after another.

    Parameters
    ----------
    dataset, results, cases
        As for `make_figures`.

    Yields
    ------
    PaperFigure
        The figures in the order of `NAMES`.
    """
    with TemporaryDirectory() as scratch:
        scans = _synthetic_scans(scratch) if dataset is None else find_scans(dataset)
        source = _SYNTHETIC if dataset is None else f"scans of {Path(dataset).name}"
        chosen = one_per_site(scans)
        yield _sites_figure(chosen, source)
        yield from _network_figures()
        yield _augmentation_figure(chosen, source)
        yield from _result_figures(results or stored_results("cross-validation"))
        note = ""
        if cases is None:
            synthetic = scans if dataset is None else _synthetic_scans(scratch)
            cases = segment_all(synthetic, load_model())
            note = (
                f" The scans are {_SYNTHETIC}, the model is the default one, which was trained on "
                f"similar phantoms: these results are optimistic."
            )
        yield _extremes_figure(cases, note)
    for name in _SCORED:
        yield _comparison_figure(name)


# ------------------------------------------------------------------------ figures and captions


def _sites_figure(chosen: list[LabelledScan], source: str) -> PaperFigure:
    names = ", ".join(item.name for item in chosen)
    return PaperFigure(
        "sites",
        f"A slice of each site ({source}: {names}); below, the cord with the outline of the "
        f"reference. The paper's figure of the four sites.",
        draw_sites([(item.name, *_scan_and_majority(item)) for item in chosen]),
    )


def _network_figures() -> Iterator[PaperFigure]:
    import_keras()
    from gmseg.core.network import build_network

    network = build_network()
    yield PaperFigure(
        "receptive_field",
        "Dilated convolutions, and the receptive fields of the network's branches, read from the "
        "network.",
        draw_receptive_field(network),
    )
    yield PaperFigure(
        "architecture",
        "The network as it is built: every box and number is read from the network itself.",
        draw_architecture(network),
    )


def _augmentation_figure(chosen: list[LabelledScan], source: str) -> PaperFigure:
    protocol = load_protocol("paper2018")
    training_set = prepare_training_set(chosen, protocol)
    plain = replace(protocol, augmentation=Augmentation())
    pairs = {
        "before": make_batch(training_set, plain, seed=0, step=0),
        "augmented": make_batch(training_set, protocol, seed=0, step=0),
    }
    return PaperFigure(
        "augmentation",
        f"Windows before and after the paper's augmentation ({source}), with the mask of one "
        f"rater. Its ranges are {TRANSCRIBED}.",
        draw_pairs(pairs, size=112),
    )


def _result_figures(results: Results) -> Iterator[PaperFigure]:
    yield PaperFigure(
        "results",
        f"{results.title}, with the published results (gray: {TRANSCRIBED}). Ours: {results.how} "
        f"{OUTLIERS} Written by `{results.made_by}`.",
        draw_results(results),
    )
    yield PaperFigure(
        "boxes",
        f"The ten metrics and HSD95 of every scan, by site or subject; a box where there are five "
        f"scans or more. {OUTLIERS} {results.how}",
        draw_boxes(results),
    )


def _extremes_figure(cases: list[dict], note: str) -> PaperFigure:
    return PaperFigure(
        "extremes",
        f"The best, the median and the worst of {len(cases)} scans by Dice with the majority of "
        f"the raters, each on its most typical slice.{note}",
        draw_extremes(cases),
    )


def _comparison_figure(name: str) -> PaperFigure:
    results = stored_results(name)
    return PaperFigure(
        name,
        f"{results.title}. {results.how} Written by `{results.made_by}`. The paper's U-Net has "
        f"776,321 parameters ({TRANSCRIBED}); ours has the same number.",
        draw_comparison(results, item=_SCORED[name]),
    )


# --------------------------------------------------------------------------------------- data


def one_per_site(scans: list[LabelledScan]) -> list[LabelledScan]:
    """Return one scan of each site, or of each subject where sites are unknown; four at most.

    Examples
    --------
    >>> scans = [LabelledScan(name, name, "", Path(f"{name}.nii.gz"), []) for name in "abcde"]
    >>> [scan.name for scan in one_per_site(scans)]
    ['a', 'b', 'c', 'd']
    """
    first: dict[str, LabelledScan] = {}
    for scan in scans:
        first.setdefault(scan.site or scan.subject, scan)
    return list(first.values())[:_SITES]


def segment_all(items: list[LabelledScan], model: Model) -> list[dict]:
    """Segment labelled scans; return cases for `gmseg.paper.result_figures.draw_extremes`."""
    cases = []
    for item in items:
        scan, reference = _scan_and_majority(item)
        mask = segment(item.scan, model).mask
        score = dice(np.asarray(mask.dataobj), np.asarray(reference.dataobj))
        cases.append(
            {"name": item.name, "scan": scan, "mask": mask, "reference": reference, "dice": score}
        )
    return cases


def _scan_and_majority(item: LabelledScan) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    scan, references = read_labelled(item)
    return scan, like_scan(scan, majority(references).astype(np.uint8))


def _synthetic_scans(scratch) -> list[LabelledScan]:
    """Write a synthetic challenge with one subject per site."""
    folder = Path(scratch) / "challenge"
    write_challenge(folder, subjects=1, raters=4)
    return find_scans(folder)


def _save(figure: Figure, path: Path, overwrite: bool) -> None:
    """Write a figure as PNG and PDF, byte for byte the same for the same figure."""
    options: dict[str, dict] = {
        "png": {"dpi": DPI, "metadata": {"Software": None}},
        "pdf": {"metadata": {"CreationDate": None, "Producer": None, "Creator": None}},
    }
    for suffix, keywords in options.items():
        # TrueType fonts keep text as text; some journals refuse other fonts
        with (
            atomic_path(path.with_name(f"{path.name}.{suffix}"), overwrite=overwrite) as temporary,
            rc_context({"pdf.fonttype": 42}),
        ):
            figure.savefig(temporary, format=suffix, facecolor=figure.get_facecolor(), **keywords)
