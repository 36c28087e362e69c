"""Exported networks equal the Keras network."""

import json

import numpy as np
import pytest

from gmseg import InputError, load_model, load_network
from gmseg.core import pipeline
from gmseg.core.network import NetworkSizes, build_network, logits_of
from gmseg.inference.engines import load_predictor
from gmseg.io.files import sha256
from gmseg.io.image import read_scan
from gmseg.models import export, registry
from gmseg.models.factory import build, network_sizes
from gmseg.models.onnx_graph import to_onnx

SIZES = {"filters": 4, "dilation_rates": [6, 12], "dropout": 0.4, "batchnorm_momentum": 0.1}
NETWORKS = {
    "paper": SIZES,
    "GM and cord": SIZES | {"outputs": 2},
    "U-Net": {"kind": "unet", "widths": [4, 6, 8], "outputs": 2},
}


def with_random_weights(network):
    """Return a network after setting all its weights, batch normalisation included, at random."""
    rng = np.random.default_rng(0)
    for layer in network.layers:
        shapes = [weight.shape for weight in layer.get_weights()]
        if layer.name.endswith("_norm"):  # gamma, beta, mean, variance
            layer.set_weights([rng.uniform(0.5, 1.5, shape) for shape in shapes])
        elif shapes:
            kernel, bias = shapes
            layer.set_weights(
                [rng.normal(0, (2 / np.prod(kernel[:3])) ** 0.5, kernel), rng.normal(0, 0.3, bias)]
            )
    return network


@pytest.fixture(scope="module", params=NETWORKS)
def model(request, tmp_path_factory):
    """Return a small model whose weights are all random."""
    sizes = NETWORKS[request.param]
    return registry.save_model(
        with_random_weights(build(network_sizes(sizes))),
        tmp_path_factory.mktemp("model"),
        "small",
        network=sizes,
        standardise="training",
        mean=10.0,
        std=2.0,
        trained_on="nothing",
    )


@pytest.fixture(scope="module")
def windows():
    return np.random.default_rng(1).normal(size=(2, 60, 52, 1)).astype(np.float32)


def run_onnx(file, windows):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["soft"], {"window": windows})[0]


def run_torch(file, windows, kind=None, **sizes):
    torch = pytest.importorskip("torch")
    from gmseg.models.torch_network import GrayMatterNetwork, UNet

    network = (UNet if kind == "unet" else GrayMatterNetwork)(**sizes).eval()
    network.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        logits = network.forward_logits(torch.from_numpy(windows.transpose(0, 3, 1, 2).copy()))
        soft = network(torch.from_numpy(windows.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(soft, torch.sigmoid(logits), atol=1e-7)
    return logits.numpy().transpose(0, 2, 3, 1), soft.numpy().transpose(0, 2, 3, 1)


def test_onnx_equals_keras(model, windows, tmp_path):
    files = export.export_model(model, tmp_path / "small.onnx", "onnx")
    expected = np.asarray(load_network(model)(windows))
    assert expected.shape[-1] == model.network.get("outputs", 1)
    assert expected.std() > 0.02  # not constant
    np.testing.assert_allclose(run_onnx(files[0], windows), expected, atol=1e-5)
    # any number of windows, of any size
    other = windows[:1, :40, :44]
    expected = np.asarray(load_network(model)(other))
    np.testing.assert_allclose(run_onnx(files[0], other), expected, atol=1e-5)


def test_torch_equals_keras(model, windows, tmp_path):
    pytest.importorskip("torch")
    files = export.export_model(model, tmp_path / "small.pt", "torch")
    network = load_network(model)
    logits, soft = run_torch(files[0], windows, **model.network)
    np.testing.assert_allclose(logits, logits_of(network)([windows]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(soft, network(windows), atol=1e-5)


def test_weights_trained_in_torch_equal_keras(model, windows):
    torch = pytest.importorskip("torch")
    from gmseg.models.torch_network import GrayMatterNetwork, UNet

    sizes = dict(model.network)
    torch.manual_seed(0)
    module = UNet(**sizes) if sizes.pop("kind", None) else GrayMatterNetwork(**sizes)
    module(torch.randn(2, 1, 40, 40))  # moves the running statistics
    network = load_network(model)
    export.fill_from_torch(network, module.state_dict())
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(windows.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(network(windows), expected.transpose(0, 2, 3, 1), atol=1e-5)


def test_a_model_can_consist_of_a_card_and_a_graph(model, windows, tmp_path, monkeypatch):
    """The graph stores half precision, and computes what Keras does with the same weights."""
    graph = to_onnx(load_network(model), half=True)
    (tmp_path / "half.onnx").write_bytes(graph.SerializeToString())
    card = json.loads(registry.card_of(model.weights).read_text())
    card |= {"name": "half", "weights_sha256": sha256(tmp_path / "half.onnx")}
    (tmp_path / "half.json").write_text(json.dumps(card))
    monkeypatch.setenv("GMSEG_MODELS", str(tmp_path))
    half = load_model("half")
    expected = np.asarray(load_network(half)(windows))
    assert 1e-6 < np.abs(expected - load_network(model)(windows)).max() < 0.01
    by_graph = load_predictor(half)(windows[..., 0])
    np.testing.assert_allclose(by_graph, np.moveaxis(expected, -1, 1), atol=1e-5)
    (tmp_path / "half.onnx").write_bytes(graph.SerializeToString()[:-40])
    card["weights_sha256"] = sha256(tmp_path / "half.onnx")
    (tmp_path / "half.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="does not fit the network of its card"):
        load_network(load_model("half"))


def test_torch_updates_running_statistics_as_keras_does():
    torch = pytest.importorskip("torch")
    from gmseg.models.torch_network import GrayMatterNetwork

    network = build_network(NetworkSizes(filters=4, dilation_rates=(6,), dropout=0.0))
    module = GrayMatterNetwork(filters=4, dilation_rates=(6,), dropout=0.0)
    as_torch = {k: torch.from_numpy(v) for k, v in export.torch_state(network).items()}
    module.load_state_dict(as_torch)
    windows = np.random.default_rng(2).normal(size=(3, 30, 30, 1)).astype(np.float32)
    network(windows, training=True)
    module.train()(torch.from_numpy(windows.transpose(0, 3, 1, 2).copy()))
    updated = export.torch_state(network)
    # PyTorch's running variance is the unbiased one
    count = 3 * 30 * 30
    for name, value in module.state_dict().items():
        if name.endswith("running_mean"):
            np.testing.assert_allclose(value, updated[name], rtol=1e-4, atol=1e-5)
        elif name.endswith("running_var"):
            np.testing.assert_allclose(value, updated[name], rtol=1e-4 + 1 / (count - 1), atol=1e-5)


@pytest.fixture(scope="module")
def published(shared):
    """Return the published model, windows of two real scans and their soft segmentations."""
    model = load_model(shared / "models/published/challenge_model.hdf5")
    network = load_network(model)
    cases = []
    for scan in (
        "t2starw-multicentre/sub-9584/anat/sub-9584_run-1_T2starw.nii.gz",
        "t2s-small-fov/t2s.nii.gz",
    ):
        windows = pipeline.prepare(read_scan(shared / "data" / scan), model).windows
        windows = windows[:4, ..., None]
        cases.append((windows, np.asarray(network(windows))))
        assert (cases[-1][1] > 0.5).any()
    return model, cases


# The published network's logits reach 770, of which single precision holds seven digits: near 0,
# rounding changes the soft segmentation by up to 2e-4, against double precision as well.
@pytest.mark.parametrize(
    ("file_format", "tolerances"), [("torch", (1e-4, 5e-4)), ("onnx", (5e-4, 5e-4))]
)
def test_published_weights_exported_equal_keras_on_real_scans(
    published, tmp_path, file_format, tolerances
):
    pytest.importorskip(file_format)
    model, cases = published
    file = tmp_path / f"published{export.FORMATS[file_format][1]}"
    export.export_model(model, file, file_format)
    for (windows, expected), atol in zip(cases, tolerances, strict=True):
        soft = run_onnx(file, windows) if file_format == "onnx" else run_torch(file, windows)[1]
        np.testing.assert_allclose(soft, expected, rtol=0, atol=atol)


def test_description_beside_the_network(model, tmp_path):
    network, card = export.export_model(model, tmp_path / "small.onnx", "onnx")
    described = json.loads(card.read_text())
    assert described.get("filters", 4) == 4  # these three are for the Spinal Cord Toolbox
    assert (described["mean_train"], described["std_train"]) == (10.0, 2.0)
    assert described["exported_from_sha256"] == model.weights_sha256
    assert described["weights_sha256"] == sha256(network)
    assert described["trained_on"] == "nothing"


def test_files_are_replaced_only_on_request(model, tmp_path):
    pytest.importorskip("torch")
    out = tmp_path / "small.pt"
    assert export.export_model(model, out, "torch") == [out, tmp_path / "small.json"]
    with pytest.raises(InputError, match="exists; use `overwrite=True`"):
        export.export_model(model, out, "torch")
    export.export_model(model, out, "torch", overwrite=True)
    with pytest.raises(InputError, match=r"name the file \*\.pt"):
        export.export_model(model, tmp_path / "small.onnx", "torch")
    with pytest.raises(InputError, match="is the input itself"):  # the model's own card
        export.export_model(model, model.weights.with_name("small.pt"), "torch", overwrite=True)


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="the export needs onnx; pip install onnx"):
        export.export_model(model, tmp_path / "small.onnx", "onnx")
    with pytest.raises(InputError, match="format: 'pth' is not one of onnx, torch"):
        export.export_model(model, tmp_path / "small.pth", "pth")
