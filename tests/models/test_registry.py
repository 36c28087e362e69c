"""Models on disk: parity with the 2017 release, cards, checksums, downloads."""

import gzip
import http.server
import json
import os
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from loopback import serve
from onnx import ModelProto
from release2017 import forward, write_release

from gmseg import InputError
from gmseg.core.model import Model
from gmseg.inference.engines import load_predictor
from gmseg.io.download import RemoteFile
from gmseg.models import registry
from gmseg.models.download import download, import_release
from gmseg.models.onnx_graph import to_onnx
from gmseg.models.registry import load_model, load_network
from gmseg.models.release2017 import RELEASES

# run by another interpreter: the backend is chosen when Keras is imported
LOGITS = """
import sys
import numpy as np
from gmseg.models.registry import load_model, load_network
out, *cases = sys.argv[1:]
logits = []
for model, windows in zip(cases[::2], cases[1::2]):
    network = load_network(load_model(model))
    from gmseg.core.network import logits_of
    logits.append(logits_of(network).predict_on_batch(np.load(windows)[..., None]))
import keras
saved = {f"logits_{k}": np.asarray(one)[..., 0] for k, one in enumerate(logits)}
np.savez(out, backend=keras.backend.backend(), **saved)
"""


def logits_on(backend, folder, *cases):
    """Return the logits of models, each with its windows, computed on a backend of Keras."""
    words = [folder / "out.npz"]
    for k, (model, windows) in enumerate(cases):
        np.save(folder / f"{k}.npy", windows.astype(np.float32))
        words += [model, folder / f"{k}.npy"]
    command = [sys.executable, "-c", LOGITS, *map(str, words)]
    subprocess.run(command, check=True, env=os.environ | {"KERAS_BACKEND": backend})
    with np.load(folder / "out.npz") as saved:
        assert str(saved["backend"]) == backend
        return [saved[f"logits_{k}"] for k in range(len(cases))]


def largest_error(logits, expected):
    return float(np.max(np.abs(logits - expected) / np.maximum(1, np.abs(expected))))


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("release") / "challenge_model.hdf5", seed=3)


@pytest.fixture(scope="module")
def imported(release, tmp_path_factory):
    return import_release(release, tmp_path_factory.mktemp("models"), "ours")


def reference_case(shared, folder):
    """Return the published model, windows, and logits by an independent implementation."""
    model = import_release(shared / "models/published/challenge_model.hdf5", folder)
    assert model.name == "published"
    with np.load(shared / "reference/published_challenge_model_logits.npz") as saved:
        return folder / "published.json", saved["standardised_slices"], saved["logits"]


def forward_case(release, imported):
    """Return an imported model, a window, and logits computed with NumPy alone."""
    window = np.random.default_rng(1).standard_normal((58, 64))
    expected = forward(release, window)
    assert expected.std() > 0.1
    return imported.weights.with_name("ours.json"), window[None], expected[None]


def assert_logits(model, windows, expected):
    from gmseg.core.network import logits_of

    network = logits_of(load_network(load_model(model)))
    logits = np.asarray(network.predict_on_batch(windows[..., None].astype(np.float32)))[..., 0]
    assert largest_error(logits, expected) <= 1e-3


def test_logits_of_the_published_weights_equal_the_reference(shared, tmp_path):
    assert_logits(*reference_case(shared, tmp_path))


def test_logits_equal_a_forward_pass_in_double_precision(release, imported):
    assert_logits(*forward_case(release, imported))


def test_logits_on_the_pytorch_backend_equal_the_references(shared, release, imported, tmp_path):
    pytest.importorskip("torch")
    cases = [reference_case(shared, tmp_path), forward_case(release, imported)]
    computed = logits_on("torch", tmp_path, *((model, windows) for model, windows, _ in cases))
    for logits, (*_, expected) in zip(computed, cases, strict=True):
        assert largest_error(logits, expected) <= 1e-3


def test_imported_model_equals_the_release_file(release, imported):
    window = np.random.default_rng(2).standard_normal((1, 48, 48)).astype(np.float32)
    direct = load_predictor(load_model(release))(window)
    again = load_predictor(load_model(imported.weights))(window)
    np.testing.assert_array_equal(direct, again)
    assert (imported.mean, imported.std) == (449.5, 489.25)
    assert load_model(imported.weights.with_name("ours.json")) == load_model(imported.weights)


def test_number_of_filters_is_read_from_the_file(tmp_path):
    release = write_release(tmp_path / "large.hdf5", filters=64)
    with pytest.raises(InputError, match=r"large\.json: exists"):  # the release's own
        import_release(release, tmp_path)
    model = import_release(release, tmp_path / "models")
    assert model.name == "large"
    assert model.network["filters"] == 64
    assert load_network(model).get_layer("rate6_1").filters == 64


@pytest.mark.parametrize("filters", [8, 64])
def test_graph_of_a_release_is_that_of_its_keras_network(filters, tmp_path):
    release = write_release(tmp_path / "mine.hdf5", filters=filters)
    expected = to_onnx(load_network(load_model(release))).graph
    graph = ModelProto.FromString(
        import_release(release, tmp_path / "m").weights.read_bytes()
    ).graph
    assert list(graph.node) == list(expected.node)
    assert (graph.input, graph.output) == (expected.input, expected.output)
    constants, wanted = ({one.name: one for one in g.initializer} for g in (graph, expected))
    assert constants == wanted


IMPORT = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name in {"keras", "tensorflow", "torch"}:
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
import numpy as np
from gmseg.inference.engines import load_predictor
from gmseg.models.download import import_release
print(load_predictor(import_release(sys.argv[1]))(np.zeros((1, 48, 48), np.float32)).shape)
"""


def test_a_release_is_imported_and_run_without_keras(release, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, release],
        env=os.environ | {"GMSEG_MODELS": str(tmp_path / "models")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "(1, 1, 48, 48)\n"


def test_importing_again_replaces_weights_in_a_file_of_their_own(release, tmp_path):
    registry.save_model(load_network(load_model(release)), tmp_path, "old", network={"filters": 32})
    model = import_release(release, tmp_path, "old", overwrite=True)
    assert load_model(tmp_path / "old.json") == model
    assert {path.name for path in tmp_path.iterdir()} == {"old.json", "old.onnx"}


def test_fields_of_a_card(imported):
    card = json.loads(imported.weights.with_name("ours.json").read_text())
    assert card.keys() == set(Model.__dataclass_fields__) - {"weights", "graphs", "about"}
    assert card["weights_sha256"] == registry.sha256(imported.weights)


def test_score_on_the_default_models_card_is_reproduced(shared):
    """On the scan that it was not trained on."""
    from gmseg import dice_labelled, segment

    folder, model = shared / "data/t2s-small-fov", load_model()
    mask = segment(folder / "t2s.nii.gz", model).mask
    score = dice_labelled(mask.dataobj, nib.load(folder / "t2s_gmseg_manual.nii.gz").dataobj)
    stated = [entry["value"] for entry in model.scores if entry["on"].startswith("t2s-small-fov")]
    assert stated == [pytest.approx(score, abs=0.002)]
    assert "t2s-small-fov" not in model.trained_on


def test_weights_are_saved_without_an_optimiser(tmp_path):
    network = load_network(load_model(write_release(tmp_path / "r.hdf5")))
    network.compile("adam", loss="mse")
    network.optimizer.build(network.trainable_variables)
    model = registry.save_model(network, tmp_path, "m", network={"filters": 32})
    assert model.weights.stat().st_size < 700_000


def test_an_unknown_name_lists_the_known_models():
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
    weights = registry.Path(copy).with_name("ours.onnx")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"ours\.onnx: its SHA-256 is not the one in"):
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
def test_invalid_cards_are_refused(copy, changes, fault):
    edit(registry.Path(copy), **changes)
    with pytest.raises(InputError, match=fault):
        load_model(copy)


def test_weights_of_another_network_are_refused(copy):
    edit(registry.Path(copy), network={"filters": 64})
    with pytest.raises(InputError, match="does not fit the network of its card"):
        load_network(load_model(copy))


def test_missing_and_wrong_files_are_refused(tmp_path):
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


@pytest.fixture
def server(tmp_path):
    """Serve a release on loopback; return the address and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    write_release(folder / "challenge_model.hdf5", seed=5)

    with serve(folder) as (url, _):
        yield url, folder


def pin(monkeypatch, name, folder):
    """Pin the files of a release as they are in a folder."""
    release = RELEASES["published"]
    files = {
        file: RemoteFile(file, registry.sha256(folder / file), (folder / file).stat().st_size)
        for file in release.files
    }
    monkeypatch.setitem(RELEASES, name, release._replace(files=files))


@pytest.fixture
def pinned(server, monkeypatch):
    pin(monkeypatch, "published", server[1])


def test_download_verifies_and_imports(server, pinned, tmp_path, monkeypatch, capsys):
    url, _ = server
    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path / "models"))
    download("published", base_url=url)
    assert "100%" in capsys.readouterr().err  # progress bar
    model = load_model("published")
    assert model.name == "published"
    assert load_network(model).count_params() == 127_585


def test_a_download_with_another_checksum_is_discarded(server, tmp_path):
    url, _ = server
    with pytest.raises(InputError, match="does not have the pinned SHA-256 and was discarded"):
        download("published", base_url=url, folder=tmp_path / "models")
    assert not list((tmp_path / "models").rglob("*.h*5"))


@pytest.mark.parametrize("packed", [False, True])
def test_a_download_has_a_largest_size(server, pinned, tmp_path, monkeypatch, packed):
    url, folder = server
    file = folder / "challenge_model.hdf5"
    most = file.stat().st_size
    file.write_bytes(bytes(2 * most))
    if packed:  # what counts is the size that is written
        file.write_bytes(gzip.compress(bytes(10 * most)))
        monkeypatch.setattr(
            http.server.SimpleHTTPRequestHandler,
            "guess_type",
            lambda *_: "text/plain\r\nContent-Encoding: gzip",
        )
    with pytest.raises(InputError, match=rf"\.hdf5: has more than the expected {most} bytes and"):
        download("published", base_url=url, folder=tmp_path / "models")
    left = [path for path in (tmp_path / "models").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in left) <= most


def test_download_without_network_or_file_is_refused(server, tmp_path):
    with pytest.raises(InputError, match="check the network, or fetch"):
        download("published", base_url="http://127.0.0.1:9/", folder=tmp_path)
    with pytest.raises(InputError, match="cannot be downloaded"):
        download("published", base_url=server[0] + "nowhere/", folder=tmp_path)
    with pytest.raises(InputError, match=r"known are published$"):
        download("bogus", folder=tmp_path)
    with pytest.raises(InputError, match=r"large: gmseg knows no checksum .* download and unpack"):
        download("large", folder=tmp_path)


def test_a_release_with_pinned_files_can_be_downloaded_by_its_name(server, tmp_path, monkeypatch):
    url, folder = server
    pin(monkeypatch, "large", folder)
    assert download("large", base_url=url, folder=tmp_path).name == "large"


def test_pinned_checksums_are_those_of_the_published_files(shared):
    for name, (_, checksum, size) in RELEASES["published"].files.items():
        file = shared / "models/published" / name
        assert (registry.sha256(file), file.stat().st_size) == (checksum, size)
