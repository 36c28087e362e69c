"""Models on disk: parity with the 2017 release, cards, checksums, downloads."""

import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading

import nibabel as nib
import numpy as np
import pytest
from release2017 import forward, write_release

from gmseg import InputError
from gmseg.inference.engines import load_predictor
from gmseg.models import download as downloads
from gmseg.models import registry
from gmseg.models.download import download, import_release
from gmseg.models.registry import load_model, load_network

# run by another interpreter, for the engine is chosen when Keras is first imported
LOGITS = """
import sys
import numpy as np
from gmseg.pretrained import load_model, load_network
model, windows, out = sys.argv[1:]
network = load_network(load_model(model))
from gmseg.network import logits_of
import keras
logits = logits_of(network).predict_on_batch(np.load(windows)[..., None])
np.savez(out, logits=np.asarray(logits)[..., 0], engine=keras.backend.backend())
"""


def logits_on(engine, model, windows, tmp_path):
    np.save(tmp_path / "windows.npy", windows.astype(np.float32))
    command = [sys.executable, "-c", LOGITS, model, tmp_path / "windows.npy", tmp_path / "out.npz"]
    env = os.environ | {"KERAS_BACKEND": engine}
    subprocess.run([str(c) for c in command], check=True, env=env)
    with np.load(tmp_path / "out.npz") as saved:
        assert str(saved["engine"]) == engine
        return saved["logits"]


def engines():
    missing = importlib.util.find_spec("torch") is None
    return [
        "tensorflow",
        pytest.param("torch", marks=pytest.mark.skipif(missing, reason="PyTorch not installed")),
    ]


def worst(logits, expected):
    return float(np.max(np.abs(logits - expected) / np.maximum(1, np.abs(expected))))


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("release") / "challenge_model.hdf5", seed=3)


@pytest.fixture(scope="module")
def imported(release, tmp_path_factory):
    return import_release(release, tmp_path_factory.mktemp("models"), "ours")


@pytest.mark.parametrize("engine", engines())
def test_logits_equal_the_reference_of_the_published_weights(engine, shared, tmp_path):
    model = import_release(shared / "models/published/challenge_model.hdf5", tmp_path)
    assert model.name == "published"
    with np.load(shared / "reference/published_challenge_model_logits.npz") as saved:
        windows, expected = saved["standardised_slices"], saved["logits"]
    card = tmp_path / "published.json"
    assert worst(logits_on(engine, card, windows, tmp_path), expected) <= 1e-3


@pytest.mark.parametrize("engine", engines())
def test_logits_equal_a_plain_forward_pass(engine, release, imported, tmp_path):
    window = np.random.default_rng(1).standard_normal((58, 64))
    expected = forward(release, window)
    assert expected.std() > 0.1
    card = imported.weights.with_name("ours.json")
    assert worst(logits_on(engine, card, window[None], tmp_path)[0], expected) <= 1e-3


def test_imported_model_and_release_file_are_the_same(release, imported):
    window = np.random.default_rng(2).standard_normal((1, 48, 48)).astype(np.float32)
    direct = load_predictor(load_model(release))(window)
    again = load_predictor(load_model(imported.weights))(window)
    np.testing.assert_array_equal(direct, again)
    assert (imported.mean, imported.std) == (449.5, 489.25)
    assert load_model(imported.weights.with_name("ours.json")) == load_model(imported.weights)


def test_64_filters_are_seen_in_the_file(tmp_path):
    release = write_release(tmp_path / "large.hdf5", filters=64)
    with pytest.raises(InputError, match=r"large\.json: exists"):  # the release's own
        import_release(release, tmp_path)
    model = import_release(release, tmp_path / "models")
    assert model.name == "large"
    assert model.network["filters"] == 64
    assert load_network(model).get_layer("rate6_1").filters == 64


def test_card_tells_what_the_model_is(imported):
    card = json.loads(imported.weights.with_name("ours.json").read_text())
    wanted = {
        "name",
        "weights_sha256",
        "network",
        "voxel_size_mm",
        "window",
        "standardise",
        "mean",
        "std",
        "threshold",
        "threshold_grid",
        "trained_on",
        "command",
        "commit",
        "scores",
        "confidence",
    }
    assert card.keys() == wanted
    assert card["weights_sha256"] == registry.sha256(imported.weights)


def test_the_default_models_card_tells_true_scores(shared):
    """On the scan that nothing was trained on: measured again, and found on the card."""
    from gmseg import dice_labelled, segment

    folder, model = shared / "data/t2s-small-fov", load_model()
    mask = segment(folder / "t2s.nii.gz", model).mask
    score = dice_labelled(mask.dataobj, nib.load(folder / "t2s_gmseg_manual.nii.gz").dataobj)
    told = [entry["value"] for entry in model.scores if entry["on"].startswith("t2s-small-fov")]
    assert told == [pytest.approx(score, abs=0.002)]
    assert "t2s-small-fov" not in model.trained_on


def test_weights_are_saved_without_an_optimiser(tmp_path):
    network = load_network(load_model(write_release(tmp_path / "r.hdf5")))
    network.compile("adam", loss="mse")
    network.optimizer.build(network.trainable_variables)
    model = registry.save_model(network, tmp_path, "m", network={"filters": 32})
    assert model.weights.stat().st_size < 700_000


# ------------------------------------------------------------------------------------ faults


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"no model of that name; known are .*default"):
        load_model("bogus")


@pytest.fixture
def copy(imported, tmp_path):
    shutil.copy(imported.weights, tmp_path)
    return shutil.copy(imported.weights.with_name("ours.json"), tmp_path)


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_wrong_checksum(copy):
    weights = registry.Path(copy).with_name("ours.weights.h5")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"ours\.weights\.h5: its SHA-256 is not the one in"):
        load_model(copy)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"network": None}, "network missing"),
        ({"threshold": 1.5}, "threshold cannot be used"),
        ({"threshold": "0.5"}, "threshold cannot be used"),
        ({"standardise": "bogus"}, "standardise cannot be used"),
        ({"network": {"bogus": 1}}, "network cannot be used"),
        ({"window": 0}, "window cannot be used"),
        ({"std": 0}, "std cannot be used"),
        ({"mean": 10**400}, "mean cannot be used"),
        ({"name": ["a"]}, "name cannot be used"),
        ({"voxel_size_mm": 1e-4}, "voxel_size_mm cannot be used"),
        ({"network": {"filters": "32"}}, "network cannot be used"),
        ({"network": {"filters": 10**9}}, "network cannot be used"),
        ({"network": {"dilation_rates": "6,12"}}, "network cannot be used"),
        ({"network": {"dilation_rates": [6, 6]}}, "network cannot be used"),
        ({"network": {"dilation_rates": [1, 2]}}, "network cannot be used"),
        ({"network": {"dropout": 2}}, "network cannot be used"),
    ],
)
def test_card_that_makes_no_sense(copy, changes, fault):
    edit(registry.Path(copy), **changes)
    with pytest.raises(InputError, match=fault):
        load_model(copy)


def test_weights_of_another_network(copy):
    edit(registry.Path(copy), network={"filters": 64})
    with pytest.raises(InputError, match="does not fit the network of its card"):
        load_network(load_model(copy))


def test_files_that_are_missing_or_something_else(tmp_path):
    with pytest.raises(InputError, match="no such model file"):
        load_model(tmp_path / "none.json")
    (tmp_path / "text.hdf5").write_text("hello")
    with pytest.raises(InputError, match=r"text\.json: cannot be read"):
        load_model(tmp_path / "text.hdf5")
    (tmp_path / "text.json").write_text('{"mean_train": 1, "std_train": 2}')
    with pytest.raises(InputError, match="not a weights file in the layout of the 2017 release"):
        load_model(tmp_path / "text.hdf5")
    (tmp_path / "text.json").write_text("{}")
    with pytest.raises(InputError, match="mean_train and std_train are missing"):
        load_model(tmp_path / "text.hdf5")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        load_model(tmp_path / "broken.json")


# --------------------------------------------------------------------------------- downloads


@pytest.fixture
def server(tmp_path):
    """A server on loopback with a release in it."""
    folder = tmp_path / "served"
    folder.mkdir()
    write_release(folder / "challenge_model.hdf5", seed=5)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/", folder
        running.shutdown()


@pytest.fixture
def pinned(server, monkeypatch):
    _, folder = server
    sums = {name: registry.sha256(folder / name) for name in downloads.RELEASE_SHA256}
    monkeypatch.setattr(downloads, "RELEASE_SHA256", sums)


def test_download_verifies_and_imports(server, pinned, tmp_path, monkeypatch, capsys):
    url, _ = server
    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path / "models"))
    download("published", base_url=url)
    assert "100%" in capsys.readouterr().err  # a bar
    model = load_model("published")
    assert model.name == "published"
    assert load_network(model).count_params() == 127_585


def test_download_of_something_else_is_refused_and_not_kept(server, tmp_path):
    url, _ = server
    with pytest.raises(InputError, match="SHA-256 of what came is not the pinned one"):
        download("published", base_url=url, folder=tmp_path / "models")
    assert not list((tmp_path / "models").rglob("*.h*5"))


def test_download_without_network_or_file(server, tmp_path):
    with pytest.raises(InputError, match="check the network, or fetch"):
        download("published", base_url="http://127.0.0.1:9/", folder=tmp_path)
    with pytest.raises(InputError, match="cannot be downloaded"):
        download("published", base_url=server[0] + "nowhere/", folder=tmp_path)
    with pytest.raises(InputError, match="known are published"):
        download("bogus", folder=tmp_path)


def test_pinned_checksum_is_that_of_the_published_file(shared):
    for name, checksum in downloads.RELEASE_SHA256.items():
        assert registry.sha256(shared / "models/published" / name) == checksum
