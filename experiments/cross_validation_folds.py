"""The folds of a cross-validation: load them, and refuse those that have seen their subject."""

import re
from pathlib import Path

import gmseg
from gmseg.datasets.splits import subjects_named
from gmseg.errors import InputError


def load_folds(folder, subjects) -> dict:
    """Load each held-out subject's model, and refuse those that have seen the subject.

    Parameters
    ----------
    folder : path-like
        With ``PERSON/model.json`` and its weights, for one subject or more.
    subjects : set of str
        Who was scanned.

    Returns
    -------
    dict
        Subject to `gmseg.Model`.
    """
    folds = {}
    for card in sorted(Path(folder).glob("*/model.json")):
        subject = card.parent.name
        if subject not in subjects:
            raise InputError(
                f"{card}: nobody is called {subject}; name a fold's folder after the subject who "
                f"is held out ({', '.join(sorted(subjects))})"
            )
        folds[subject] = gmseg.load_model(card)
        check_unseen(folds[subject], subject, card)
    if not folds:
        raise InputError(f"{folder}: holds no PERSON/model.json; give the folder of the folds")
    return folds


def check_unseen(model, subject, card) -> None:
    """Refuse a model that a subject's scans had any part in, or whose card leaves this open.

    A card names the scans that a model was trained on, and those of the model whose weights it
    began with.
    """
    subjects = subjects_named(model.trained_on)
    if subject in subjects:
        raise InputError(
            f"{card}: was trained on scans of {subject}, or began with a model that was; "
            f"train the fold without subject {subject}"
        )
    begun = re.findall(r"begun with the weights of [^(]*\((\w+)", model.trained_on)
    if "unknown" in begun if begun else "--from" in model.command:
        raise InputError(
            f"{card}: began with a model, and does not say what that was trained on; "
            f"begin with one whose card says it"
        )
    if not subjects:
        raise InputError(f"{card}: trained_on names no scan; give a model of gmseg train")


def model_shown(name) -> str:
    """Return a model's name, or of a file the last part of its path that tells something."""
    path = Path(name)
    return f"{path.parent.name}/{path.name}" if path.name.startswith("model.") else path.name
