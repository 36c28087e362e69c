"""All figures of the paper, drawn again: files and captions in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np
from matplotlib import rc_context

from gmseg.core import model
from gmseg.datasets import phantom
from gmseg.datasets.folders import LabelledScan, find_scans
from gmseg.datasets.labelled import read_labelled
from gmseg.errors import InputError
from gmseg.evaluation import metrics
from gmseg.evaluation.evaluate import majority
from gmseg.inference import segment
from gmseg.io import image
from gmseg.io.files import atomic_path, check_folder, write_text
from gmseg.io.resources import bundled
from gmseg.models import registry
from gmseg.models.backend import import_keras
from gmseg.paper import published
from gmseg.paper.network_diagrams import draw_architecture, draw_receptive_field
from gmseg.paper.result_figures import draw_boxes, draw_comparison, draw_extremes, draw_results
from gmseg.paper.results import Results, load_results
from gmseg.paper.sample_figures import draw_pairs, draw_sites
from gmseg.training import samples
from gmseg.training.augmentation import Augmentation
from gmseg.training.protocol import load_protocol

PAGE = "figures.md"
_SITES = 4
_MADE_UP = "made-up cords"


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper.

    Attributes
    ----------
    name : str
        Of its files.
    caption : str
        What it shows, of which data, and where the paper has it.
    figure : matplotlib.figure.Figure
    """

    name: str
    caption: str
    figure: object


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
        Created if missing. ``figures.md`` shows all of them, ``results.md`` and
        ``results.tsv`` are the table.
    dataset : path-like, optional
        A GM Challenge or BIDS folder for the pictures of scans; by default a made-up challenge.
    results : Results, optional
        For the table and the boxes; by default those of the cross-validation on real scans.
    cases : list of dict, optional
        Segmented scans, of which the best, the median and the worst are shown: see
        `gmseg.paper.result_figures.draw_extremes`; by default the default model's on a made-up
        challenge.
    overwrite : bool
        Replace the files of an earlier call.
    progress : callable, optional
        Called with (figures done, figures in all).

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    gmseg.errors.InputError
        If the dataset cannot be used, or files are there already.
    """
    folder = check_folder(folder)
    names = [f"{name}.{end}" for name in NAMES for end in ("png", "pdf")]
    names += ["results.md", "results.tsv", PAGE]
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise InputError(f"{folder / there[0]}: exists; use --overwrite to replace it")
    folder.mkdir(parents=True, exist_ok=True)
    results = results or load_results(bundled("data/results/cross-validation.json"))
    page = ["# The figures of the paper, drawn again", ""]
    page += ["Perone, Calabrese & Cohen-Adad, Scientific Reports 8:5966 (2018).", ""]
    for done, made in enumerate(draw_all(dataset, results, cases), 1):
        _save(made.figure, folder / made.name)
        page += [f"## {made.name}", "", f"![{made.name}]({made.name}.png)", "", made.caption, ""]
        if progress is not None:
            progress(done, len(NAMES))
    write_text(folder / "results.md", published.as_markdown(results))
    write_text(folder / "results.tsv", published.as_tsv(results))
    write_text(folder / PAGE, "\n".join(page))
    return [folder / name for name in names]


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


def draw_all(
    dataset=None, results: Results | None = None, cases: list[dict] | None = None
) -> Iterator[PaperFigure]:
    """Draw the paper's figures one after another: see `make_figures`."""
    keras_network = _network()
    results = results or load_results(bundled("data/results/cross-validation.json"))
    with TemporaryDirectory() as scratch:
        made_up = dataset is None
        scans = _made_up_scans(scratch) if made_up else find_scans(dataset)
        what = _MADE_UP if made_up else f"scans of {Path(dataset).name}"
        chosen = one_per_site(scans)
        yield PaperFigure(
            "sites",
            f"A slice of each site ({what}: {', '.join(item.name for item in chosen)}); below, "
            f"around the cord, with the reference. The paper's figure of the four sites.",
            draw_sites([(item.name, *_with_majority(item)) for item in chosen]),
        )
        yield PaperFigure(
            "receptive_field",
            "Dilated convolutions, and how far the network's branches see: read from the network.",
            draw_receptive_field(network=keras_network),
        )
        yield PaperFigure(
            "architecture",
            "The network as it is built: every box and number is read from the network itself.",
            draw_architecture(keras_network),
        )
        yield PaperFigure(
            "augmentation",
            f"Windows before and after the paper's augmentation ({what}), with a rater's mask. "
            f"Its ranges are {published.TRANSCRIBED}.",
            _augmentation(chosen),
        )
        yield PaperFigure(
            "results",
            f"{results.title}, beside the published results (gray: {published.TRANSCRIBED}). Ours: "
            f"{results.how} Made by `{results.made_by}`.",
            draw_results(results),
        )
        yield PaperFigure(
            "boxes",
            f"The ten metrics of every scan, by site or subject. {results.how}",
            draw_boxes(results),
        )
        told = ""
        if cases is None:
            phantoms = scans if made_up else _made_up_scans(scratch)
            cases = segmented(phantoms, registry.load_model())
            told = (
                f" Of {_MADE_UP}, by the default model, which trained on others of their kind: "
                f"they flatter."
            )
        yield PaperFigure(
            "extremes",
            f"The best, the median and the worst of {len(cases)} scans by Dice, each in its most "
            f"typical slice, against the raters' majority.{told}",
            draw_extremes(cases),
        )
    for name in ("unet", "exvivo"):
        found = load_results(bundled(f"data/results/{name}.json"))
        yield PaperFigure(
            name,
            f"{found.title}. {found.how} Made by `{found.made_by}`. The paper's U-Net has 776,321 "
            f"parameters ({published.TRANSCRIBED}); ours is made to that size.",
            draw_comparison(found),
        )


def _made_up_scans(scratch) -> list[LabelledScan]:
    """Make up a challenge of one subject per site, in a folder that is removed afterwards."""
    folder = Path(scratch) / "challenge"
    phantom.write_challenge(folder, subjects=1, raters=4)
    return find_scans(folder)


def one_per_site(scans: list[LabelledScan]) -> list[LabelledScan]:
    """Return one scan of each site, or of each subject where sites are not known; four at most."""
    found: dict[str, LabelledScan] = {}
    for scan in scans:
        found.setdefault(scan.site or scan.subject, scan)
    return list(found.values())[:_SITES]


def segmented(items: list[LabelledScan], model: model.Model) -> list[dict]:
    """Segment labelled scans, as `gmseg.paper.result_figures.draw_extremes` wants them."""
    cases = []
    for item in items:
        scan, reference = _with_majority(item)
        mask = segment.segment(item.scan, model).mask
        dice = metrics.dice(np.asarray(mask.dataobj), np.asarray(reference.dataobj))
        cases.append(
            {"name": item.name, "scan": scan, "mask": mask, "reference": reference, "dice": dice}
        )
    return cases


def _with_majority(item: LabelledScan) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    scan, references = read_labelled(item)
    return scan, image.like_scan(scan, majority(references).astype(np.uint8))


def _augmentation(items: list[LabelledScan]):
    from dataclasses import replace

    protocol = load_protocol("paper2018")
    source = samples.prepare_source(items, protocol)
    plain = replace(protocol, augmentation=Augmentation())
    pairs = {
        "before": samples.make_batch(source, plain, seed=0, step=0),
        "augmented": samples.make_batch(source, protocol, seed=0, step=0),
    }
    return draw_pairs(pairs, size=112)


def _network():
    import_keras()
    from gmseg.core.network import build_network

    return build_network()


def _save(figure, path: Path) -> None:
    """Write a figure as PNG and PDF, the same bytes for the same figure."""
    for end, how in (
        ("png", {"dpi": 160, "metadata": {"Software": None}}),
        ("pdf", {"metadata": {"CreationDate": None, "Producer": None, "Creator": None}}),
    ):
        # TrueType fonts, whose text stays text: some journals refuse others
        with (
            atomic_path(path.with_name(f"{path.name}.{end}")) as temporary,
            rc_context({"pdf.fonttype": 42}),
        ):
            figure.savefig(temporary, format=end, facecolor=figure.get_facecolor(), **how)
