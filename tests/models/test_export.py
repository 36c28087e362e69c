"""Exported networks equal the network."""

import json

import numpy as np
import pytest

from gmseg import InputError, load_model, load_network
from gmseg.cli import main
from gmseg.core import pipeline
from gmseg.core.network import NetworkSizes, build_network, logits_of
from gmseg.models import export, registry

SIZES = {"filters": 4, "dilation_rates": [6, 12], "dropout": 0.4, "batchnorm_momentum": 0.1}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small model whose weights are all random, those of batch normalisation, too."""
    network = build_network(NetworkSizes(**SIZES))
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
    return registry.save_model(
        network,
        tmp_path_factory.mktemp("model"),
        "small",
        network=SIZES,
        standardise="training",
        mean=10.0,
        std=2.0,
        trained_on="nothing",
    )


@pytest.fixture(scope="module")
def windows():
    return np.random.default_rng(1).normal(size=(2, 60, 52, 1)).astype(np.float32)


def in_onnx(file, windows):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(["soft"], {"window": windows})[0]


def in_torch(file, windows, **sizes):
    torch = pytest.importorskip("torch")
    from gmseg.models.torch_network import GrayMatterNetwork

    network = GrayMatterNetwork(**sizes).eval()
    network.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        logits = network.forward_logits(torch.from_numpy(windows.transpose(0, 3, 1, 2).copy()))
        soft = network(torch.from_numpy(windows.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(soft, torch.sigmoid(logits), atol=1e-7)
    return logits.numpy().transpose(0, 2, 3, 1), soft.numpy().transpose(0, 2, 3, 1)


def test_onnx_equals_keras(model, windows, tmp_path):
    pytest.importorskip("onnx")
    files = export.export_model(model, tmp_path / "small.onnx", "onnx")
    truth = np.asarray(load_network(model)(windows))
    assert truth.std() > 0.02  # a test of numbers, not of a constant
    np.testing.assert_allclose(in_onnx(files[0], windows), truth, atol=1e-5)
    # any number of windows, of any size
    other = windows[:1, :40, :44]
    truth = np.asarray(load_network(model)(other))
    np.testing.assert_allclose(in_onnx(files[0], other), truth, atol=1e-5)


def test_plain_torch_equals_keras(model, windows, tmp_path):
    pytest.importorskip("torch")
    files = export.export_model(model, tmp_path / "small.pt", "torch")
    network = load_network(model)
    logits, soft = in_torch(files[0], windows, filters=4, dilation_rates=(6, 12))
    np.testing.assert_allclose(logits, logits_of(network)([windows]), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(soft, network(windows), atol=1e-5)


def test_plain_torch_trains_as_keras_does():
    """One training step without dropout moves the running statistics alike."""
    torch = pytest.importorskip("torch")
    from gmseg.models.torch_network import GrayMatterNetwork

    network = build_network(NetworkSizes(filters=4, dilation_rates=(6,), dropout=0.0))
    plain = GrayMatterNetwork(filters=4, dilation_rates=(6,), dropout=0.0)
    as_torch = {k: torch.from_numpy(v) for k, v in export.torch_state(network).items()}
    plain.load_state_dict(as_torch)
    windows = np.random.default_rng(2).normal(size=(3, 30, 30, 1)).astype(np.float32)
    network(windows, training=True)
    plain.train()(torch.from_numpy(windows.transpose(0, 3, 1, 2).copy()))
    moved = export.torch_state(network)
    # PyTorch's running variance is the unbiased one
    count = 3 * 30 * 30
    for name, value in plain.state_dict().items():
        if name.endswith("running_mean"):
            np.testing.assert_allclose(value, moved[name], rtol=1e-4, atol=1e-5)
        elif name.endswith("running_var"):
            np.testing.assert_allclose(value, moved[name], rtol=1e-4 + 1 / (count - 1), atol=1e-5)


@pytest.mark.parametrize(
    ("file_format", "scan", "atol"),
    [
        ("torch", "t2starw-multicentre/sub-9584/anat/sub-9584_run-1_T2starw.nii.gz", 1e-4),
        # the published network's logits reach 770, of which single precision holds seven digits:
        # where one is near 0, its rounding is up to 2e-4 in the soft segmentation, against
        # double precision as well
        ("torch", "t2s-small-fov/t2s.nii.gz", 5e-4),
        ("onnx", "t2starw-multicentre/sub-9584/anat/sub-9584_run-1_T2starw.nii.gz", 5e-4),
        ("onnx", "t2s-small-fov/t2s.nii.gz", 5e-4),
    ],
)
def test_the_published_weights_exported_equal_on_a_real_scan(
    shared, tmp_path, file_format, scan, atol
):
    pytest.importorskip(file_format)
    from gmseg.io.image import read_scan

    model = load_model(shared / "models" / "published" / "challenge_model.hdf5")
    windows = pipeline.prepare(read_scan(shared / "data" / scan), model).windows
    windows = windows[:4, ..., None].astype(np.float32)
    file = tmp_path / f"published{export.FORMATS[file_format][1]}"
    export.export_model(model, file, file_format)
    soft = in_onnx(file, windows) if file_format == "onnx" else in_torch(file, windows)[1]
    truth = np.asarray(load_network(model)(windows))
    assert (truth > 0.5).any()
    np.testing.assert_allclose(soft, truth, rtol=0, atol=atol)


def test_the_json_beside_it(model, tmp_path):
    pytest.importorskip("onnx")
    _, card = export.export_model(model, tmp_path / "small.onnx", "onnx")
    described = json.loads(card.read_text())
    assert described["filters"] == 4  # these three are for the Spinal Cord Toolbox
    assert (described["mean_train"], described["std_train"]) == (10.0, 2.0)
    assert described["exported_from_sha256"] == model.weights_sha256
    assert described["trained_on"] == "nothing"
    from gmseg.io.files import sha256

    assert described["weights_sha256"] == sha256(tmp_path / "small.onnx")


def test_nothing_is_overwritten_unasked(model, tmp_path, capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    choices = ["models", "export", str(model.weights), "--format", "torch"]
    assert main._run(choices) == 0
    assert capsys.readouterr().out.split() == ["small.pt", "small.json"]
    assert main._run(choices) == 2
    assert "exists; use --overwrite" in capsys.readouterr().err
    assert main._run([*choices, "--overwrite"]) == 0
    assert main._run([*choices, "-o", "small.onnx"]) == 2
    assert "name the file *.pt" in capsys.readouterr().err
    # the model's own JSON is not for replacing
    beside = ["-o", str(model.weights.with_name("small.pt")), "--overwrite"]
    assert main._run([*choices, *beside]) == 2
    assert "is the input itself" in capsys.readouterr().err


def test_a_missing_package_is_told(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="onnx is not installed; pip install onnx"):
        export.export_model(model, tmp_path / "small.onnx", "onnx")
