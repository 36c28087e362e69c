"""The BIDS dataset of the tests, its derivatives, and a model that needs no time."""

import contextlib
import io
import json
import shutil
from types import SimpleNamespace

import pytest
from bids_dataset import (
    modification_times,
    predict_disc,
    predict_discs,
    run_bids,
    write_raw_dataset,
)

from gmseg.inference import segment
from gmseg.io.resources import bundled


@contextlib.contextmanager
def _disc_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            segment,
            "load_predictor",
            lambda model: predict_discs if model.has_cord else predict_disc,
        )
        yield


@pytest.fixture(scope="module")
def disc_network():
    """Replace the network: it sees a disc in the middle of every window, and a cord around it."""
    with _disc_network():
        yield


@pytest.fixture(scope="session")
def small_model(tmp_path_factory):
    """The card of a model with small windows; its weights lie next to it."""
    folder = tmp_path_factory.mktemp("model")
    shutil.copy(bundled("models/default.weights.h5"), folder / "fast.weights.h5")
    card = json.loads(bundled("models/default.json").read_text())
    small = {"name": "fast", "voxel_size_mm": 0.5, "window": 80}
    small["network"] = card["network"] | {"outputs": 1}
    (folder / "fast.json").write_text(json.dumps(card | small))
    return folder / "fast.json"


@pytest.fixture(scope="session")
def cord_model(small_model):
    """The card of a model with small windows and a cord output."""
    shutil.copy(small_model.with_name("fast.weights.h5"), small_model.with_name("cord.weights.h5"))
    card = json.loads(small_model.read_text())
    more = {"name": "cord", "window": 88, "network": card["network"] | {"outputs": 2}}
    small_model.with_name("cord.json").write_text(json.dumps(card | more))
    return small_model.with_name("cord.json")


@pytest.fixture(scope="session")
def raw(tmp_path_factory):
    """The raw dataset, in a folder whose name has a space."""
    return write_raw_dataset(tmp_path_factory.mktemp("bids") / "raw data")


@pytest.fixture(scope="session")
def derivatives(raw, small_model):
    """The derivatives that the participant level writes, in the usual folder."""
    before = modification_times(raw)
    out_dir = raw / "derivatives" / "gmseg"
    stdout, stderr = io.StringIO(), io.StringIO()
    with _disc_network(), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        status = run_bids(raw, out_dir, "participant", "--model", small_model)
    return SimpleNamespace(
        out_dir=out_dir,
        status=status,
        before=before,
        after=modification_times(raw),
        stdout=stdout.getvalue(),
        stderr=stderr.getvalue(),
    )


@pytest.fixture
def dataset_copy(derivatives, raw, tmp_path):
    """A copy of the raw dataset and of its derivatives, which a test may change."""
    shutil.copytree(raw, tmp_path / "copy")
    return tmp_path / "copy", tmp_path / "copy" / "derivatives" / "gmseg"
