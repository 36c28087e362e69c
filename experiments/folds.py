"""The fold models of a cross-validation; models that were trained on their subject are refused."""

import contextlib
import os
import re
from pathlib import Path

import gmseg
from gmseg.datasets.splits import subjects_named
from gmseg.errors import InputError


def load_folds(folder: Path, subjects: set[str], name: str = "model") -> dict:
    """Load the model of each held-out subject; refuse models that have seen the subject.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of ``SUBJECT/NAME.json`` and its weights, for one subject or more.
    subjects : set of str
        All subjects.
    name : str
        Name of the models.

    Returns
    -------
    dict
        Subject to `gmseg.Model`.
    """
    folds = {}
    for card in sorted(folder.glob(f"*/{name}.json")):
        subject = card.parent.name
        if subject not in subjects:
            raise InputError(
                f"{card}: there is no subject {subject}; name the folder of a fold after the "
                f"subject who is held out ({', '.join(sorted(subjects))})"
            )
        folds[subject] = gmseg.load_model(card)
        check_unseen(folds[subject], subject, card)
    if not folds:
        raise InputError(f"{folder}: contains no SUBJECT/{name}.json; give the folder of the folds")
    return folds


def check_unseen(model, subject: str, card) -> None:
    """Refuse a model that was trained on a subject's scans, or whose card leaves this open.

    A card names the scans that a model was trained on, and those of the model that it was
    initialised from.
    """
    subjects = subjects_named(model.trained_on)
    if subject in subjects:
        raise InputError(
            f"{card}: was trained on scans of {subject}, or initialised from a model that was; "
            f"train the fold without subject {subject}"
        )
    starts = re.findall(r"begun with the weights of [^(]*\((\w+)", model.trained_on)
    if "unknown" in starts if starts else "--from" in model.command:
        raise InputError(
            f"{card}: was initialised from a model whose training scans are unknown; start from "
            f"one whose card names them"
        )
    if not subjects:
        raise InputError(f"{card}: trained_on names no scan; give a model of gmseg train")


@contextlib.contextmanager
def trusted(model):
    """Run a model by its exported graph, as the models of the user's own folder are.

    Keras runs the graphs of others, and takes several times as long.
    """
    before = os.environ.get("GMSEG_MODELS")
    os.environ["GMSEG_MODELS"] = str(model.weights.parent)
    try:
        yield
    finally:
        if before is None:
            del os.environ["GMSEG_MODELS"]
        else:
            os.environ["GMSEG_MODELS"] = before


def segment(scan, model, **options):
    """Segment a scan by `gmseg.segment`, with the exported graph of a fold model."""
    with trusted(model):
        return gmseg.segment(scan, model, **options)


def short_name(name) -> str:
    """Return the name of a model or, of a file, the part of its path that identifies it."""
    path = Path(name)
    return f"{path.parent.name}/{path.name}" if path.name.startswith("model.") else path.name
