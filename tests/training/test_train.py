"""Training: repeatability, resuming, early stop, outputs."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage
from tiny_training import small

from gmseg import InputError, load_model, segment
from gmseg.core.resampling import to_working_grid
from gmseg.datasets.folders import bids_scans
from gmseg.datasets.phantom import write_challenge
from gmseg.models import registry
from gmseg.models.backend import import_keras
from gmseg.training import loop, losses, train
from gmseg.training.augmentation import Augmentation
from gmseg.training.protocol import Loss, Phantoms, load_protocol
from gmseg.training.samples import make_batch, prepare_training_set

NETWORK = {"filters": 8, "dilation_rates": [6]}


def run(dataset, out, protocol=None, **choices):
    return train.train(dataset, out, protocol=protocol or small(), split="b", **choices)


def trained_on(name):
    return dataclasses.replace(load_model(), trained_on=f"1 scans: {name}")


def weights_of(model):
    return [np.asarray(w) for w in registry.load_network(model).weights]


def test_a_run_repeats_resumes_and_leaves_a_model(dataset, tmp_path):
    protocol = small(steps=12, validate_every=6)
    protocol = dataclasses.replace(protocol, network=NETWORK | {"dropout": 0.4})
    lines = []
    whole = run(dataset, tmp_path / "whole", protocol)
    again = run(dataset, tmp_path / "again", protocol, resume=True, describe=lines.append)
    assert "contains no checkpoint: this run starts from the beginning" in lines[-1]
    for first, second in zip(weights_of(whole), weights_of(again), strict=True):
        np.testing.assert_array_equal(first, second)

    def interrupt(state):
        if state["step"] == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "cut", protocol, progress=interrupt)
    with np.load(tmp_path / "cut" / "checkpoint.npz") as saved:
        assert json.loads(str(saved["log"]))["step"] == 5
    with pytest.raises(InputError, match="exists; set `resume=True`"):
        run(dataset, tmp_path / "cut", protocol)
    with pytest.raises(
        InputError, match="belongs to a run with another precision, protocol, seed or data"
    ):
        run(dataset, tmp_path / "cut", protocol, resume=True, seed=7)
    resumed = run(dataset, tmp_path / "cut", protocol, resume=True)
    for first, second in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)

    assert whole.trained_on.startswith("2 scans: sub-aSes1_T2starw, sub-aSes2_T2starw; and 1 synth")
    assert whole.scores[0]["on"] == "sub-b_T2starw"
    logs = [list(csv.reader((tmp_path / n / "log.csv").open())) for n in ("whole", "cut")]
    assert logs[0][0] == ["step", "loss", "validation_dice"]
    assert [row[0] for row in logs[0][1:]] == ["6", "12"]
    np.testing.assert_allclose(
        np.array(logs[0][1:], float), np.array(logs[1][1:], float), atol=1e-3
    )
    model = load_model(tmp_path / "whole" / "model.json")
    scan = next((dataset / "sub-b").rglob("*.nii.gz"))
    assert segment(scan, model).mask.shape == (110, 110, 2)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_to_end_keep_the_steps_since_the_validation(dataset, tmp_path, name):
    number, received = getattr(signal, name), []
    before = signal.signal(number, lambda *_: received.append(name))

    def end(state):
        if state["step"] == 3:
            signal.raise_signal(number)

    try:
        protocol = dataclasses.replace(small(steps=6, validate_every=6), network=NETWORK)
        with pytest.raises(KeyboardInterrupt):
            run(dataset, tmp_path / "out", protocol, progress=end)
        assert received == [name]  # the caller's handler decides what follows
        assert signal.getsignal(number) is not signal.SIG_DFL
    finally:
        signal.signal(number, before)
    with np.load(tmp_path / "out" / "checkpoint.npz") as saved:
        assert json.loads(str(saved["log"]))["step"] == 3
    assert not list((tmp_path / "out").glob(".gmseg-*"))


def test_a_run_that_is_killed_in_a_validation_repeats_it(dataset, tmp_path, monkeypatch):
    protocol = dataclasses.replace(
        small(steps=4, validate_every=2), network=NETWORK | {"dropout": 0.4}
    )
    whole = run(dataset, tmp_path / "whole", protocol)

    def killed(*_):
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "mean_dice", killed)
        with pytest.raises(ZeroDivisionError):
            run(dataset, tmp_path / "cut", protocol)
    resumed = run(dataset, tmp_path / "cut", protocol, resume=True)
    for first, second in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)
    logs = [list(csv.reader((tmp_path / n / "log.csv").open())) for n in ("whole", "cut")]
    assert [row[0] for row in logs[0]] == [row[0] for row in logs[1]] == ["step", "2", "4"]


def test_a_second_training_in_the_same_folder_is_refused(dataset, tmp_path):
    protocol = dataclasses.replace(small(steps=1, validate_every=1), network=NETWORK)
    faults = []

    def begin_another(_):
        with pytest.raises(InputError, match="another training writes to it now") as caught:
            run(dataset, tmp_path / "out", protocol, resume=True)
        faults.append(caught.value)

    run(dataset, tmp_path / "out", protocol, progress=begin_another)
    assert len(faults) == 1


def test_early_stop_keeps_the_best_weights(dataset, tmp_path, monkeypatch):
    scores, seen = iter((0.5, 0.7, 0.6, 0.65, 0.9, 0.9)), []

    def scored(network, cases):
        seen.append(network.get_weights())
        return next(scores)

    for module in (loop, train):
        monkeypatch.setattr(module, "mean_dice", scored)
    protocol = small(steps=8, validate_every=1, average=0.0)
    protocol = dataclasses.replace(protocol, network=NETWORK, loss=Loss(calibrate=False))
    stopped = run(dataset, tmp_path, protocol, early_stop=2)
    rows = list(csv.reader((tmp_path / "log.csv").open()))[1:]
    assert [row[2] for row in rows] == ["0.5", "0.7", "0.6", "0.65"]
    for kept, best in zip(registry.load_network(stopped).get_weights(), seen[1], strict=True):
        np.testing.assert_array_equal(kept, best)
    for other in (0, 2, 3):  # every validation saw other weights
        assert (seen[1][0] != seen[other][0]).any()
    with pytest.raises(InputError, match="`early_stop` needs held-out subjects"):
        train.train(dataset, tmp_path / "all", protocol=protocol, split="all", early_stop=2)


def test_training_continues_from_a_model(dataset, tmp_path):
    """At a rate of almost 0 the weights stay the same."""
    protocol = small(steps=2, validate_every=2, rate=1e-9)
    protocol = dataclasses.replace(protocol, loss=Loss(calibrate=False))
    tuned = run(dataset, tmp_path / "out", protocol, start="default")
    before, after = (registry.load_network(m) for m in (load_model(), tuned))
    for old, new in zip(before.trainable_variables, after.trainable_variables, strict=True):
        outputs = np.asarray(new).shape[-1]  # GM alone, since no scan has a cord mask
        np.testing.assert_allclose(np.asarray(old)[..., :outputs], np.asarray(new), atol=1e-6)
    assert "begun with the weights of default (" in tuned.trained_on
    with pytest.raises(InputError, match=r"`start=.*`: was trained on the held-out subjects b"):
        run(dataset, tmp_path / "seen", protocol, start=trained_on("sub-b_T2starw"))
    wide = dataclasses.replace(protocol, network={"filters": 8})
    with pytest.raises(InputError, match="its network has filters 32, the protocol's 8"):
        run(dataset, tmp_path / "wide", wide, start="default")


def test_training_in_bfloat16_leaves_a_model_in_single_precision(dataset, tmp_path):
    exact, coarse = (
        run(dataset, tmp_path / name, precision=name, resume=True) for name in train.PRECISIONS
    )
    assert import_keras().config.dtype_policy().name == "float32"
    pairs = list(zip(weights_of(exact), weights_of(coarse), strict=True))
    assert all(second.dtype == np.float32 for _, second in pairs)
    assert any((first != second).any() for first, second in pairs)
    assert coarse.scores[0]["value"] == pytest.approx(exact.scores[0]["value"], abs=0.05)
    with pytest.raises(InputError, match="another precision, protocol, seed or data"):
        run(dataset, tmp_path / "bf16", resume=True)
    with pytest.raises(InputError, match="'half' is unknown; choose float32 or bf16"):
        run(dataset, tmp_path / "half", precision="half")


def test_numbers_for_tensorboard(dataset, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    protocol = dataclasses.replace(small(steps=4, validate_every=2), network=NETWORK)
    run(dataset, tmp_path, protocol, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    rows = list(csv.reader((tmp_path / "log.csv").open()))[1:]
    for name, column in (("loss", 1), ("dice", 2)):
        written = [tensor.tensor_proto.float_val[0] for tensor in events.Tensors(name)]
        assert written == pytest.approx([float(row[column]) for row in rows], rel=1e-5)


def test_a_challenge_is_described_trained_and_plotted(tmp_path):
    write_challenge(tmp_path / "challenge", subjects=4, sites=1, raters=2, shape=(64, 64, 1))
    for mask in (tmp_path / "challenge").glob("site1-sc04-mask-*"):
        mask.unlink()
    lines = []
    paper = load_protocol("paper2018")
    paper = dataclasses.replace(
        paper,
        windows=dataclasses.replace(paper.windows, size=24, batch=1, standardise="training"),
        optimiser=dataclasses.replace(paper.optimiser, steps=2, validate_every=1),
    )
    model = train.train(
        tmp_path / "challenge", tmp_path / "out", protocol=paper, describe=lines.append
    )
    assert lines == [
        "3 scans of 3 subjects at 1 sites, up to 2 raters",
        "left out because they have no mask: site1-sc04",
        "trained on: site1-sc01",
        "held out: site1-sc02, site1-sc03",
    ]
    assert model.trained_on == "1 scans: site1-sc01"
    assert model.scores[0]["on"] == "site1-sc02, site1-sc03"
    assert "window at the image's centre" in model.scores[0]["what"]
    # mean and standard deviation of the training set, in scan values, as in the 2017 release
    item = tmp_path / "challenge/site1-sc01-image.nii.gz"
    scan = np.asarray(nib.load(item).dataobj)
    fine = to_working_grid(scan, nib.load(item).affine).data[..., 0]
    window = np.full((200, 200), fine.min())
    rows, columns = fine.shape
    window[100 - rows // 2 :, 100 - columns // 2 :][:rows, :columns] = fine
    assert (model.mean, model.std) == pytest.approx((window.mean(), window.std()), rel=1e-4)
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("engine", ["torch", "jax"])
def test_other_engines_train_alike(dataset, tmp_path, engine):
    """The first losses agree, with the same samples and weights."""
    pytest.importorskip(engine)
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from tiny_training import small
from gmseg.training import train
losses = []
train.train(sys.argv[2], sys.argv[3], protocol=small(steps=3, validate_every=3), split="b",
            start="default", progress=lambda state: losses.append(state["loss"]))
import keras
print(keras.backend.backend(), *losses)
"""
    printed = {}
    for backend in ("tensorflow", engine):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                script,
                str(Path(__file__).parents[1] / "helpers"),
                str(dataset),
                str(tmp_path / backend),
            ],
            env=os.environ | {"KERAS_BACKEND": backend},
            capture_output=True,
            text=True,
            check=True,
        )
        name, *losses = done.stdout.split()
        assert name == backend
        printed[backend] = np.array(losses, float)
    np.testing.assert_allclose(printed[engine], printed["tensorflow"], rtol=0.02)
    assert printed[engine][0] == pytest.approx(printed["tensorflow"][0], rel=1e-4)


@pytest.mark.parametrize("with_cord", [True, False])
def test_the_cord_output_is_kept_where_there_are_cord_masks(dataset, tmp_path, with_cord):
    folder = tmp_path / "data"
    shutil.copytree(dataset, folder)
    if with_cord:  # of one of the two training scans
        gm = folder / "derivatives/labels/sub-aSes1/anat/sub-aSes1_T2starw_gmseg-manual.nii.gz"
        image = nib.load(gm)
        wide = ndimage.binary_dilation(np.asarray(image.dataobj), iterations=5)
        cord = nib.Nifti1Image(wide.astype(np.uint8), image.affine)
        nib.save(cord, gm.with_name("sub-aSes1_T2starw_seg-manual.nii.gz"))
    lines = []
    model = run(folder, tmp_path / "out", small(), start="default", describe=lines.append)
    count = "1 of 2" if with_cord else "0 of 2"
    what = "GM and cord" if with_cord else "GM alone"
    assert f"outputs: {what}; {count} training scans have a cord mask" in lines
    assert model.has_cord == with_cord
    start, trained = (
        registry.load_network(load_model(name)) for name in ("default", model.weights)
    )
    before, after = (one.get_layer("logits").get_weights()[0] for one in (start, trained))
    assert after.shape[-1] == 1 + with_cord
    np.testing.assert_allclose(after, before[..., : 1 + with_cord], atol=0.02)
    assert (after != before[..., : 1 + with_cord]).any()


def test_outputs_of_another_run_are_kept(dataset, tmp_path):
    (tmp_path / "model.json").write_text("other")
    with pytest.raises(InputError, match=r"model\.json: exists; set `resume=True` to continue"):
        run(dataset, tmp_path)
    with pytest.raises(InputError, match=r"model\.json: exists"):
        run(dataset, tmp_path, resume=True)  # there is no checkpoint to resume from
    (tmp_path / "checkpoint.npz").write_text("junk")
    with pytest.raises(InputError, match="is not a checkpoint that can be read"):
        run(dataset, tmp_path, resume=True)
    assert (tmp_path / "model.json").read_text() == "other"
    with pytest.raises(InputError, match="is a file, not a folder"):
        run(dataset, tmp_path / "model.json")


def test_the_loss_falls(dataset, tmp_path):
    protocol = small(steps=60, validate_every=15, rate=5e-3)
    # two slices without augmentation: the network must overfit
    on_cord = dataclasses.replace(protocol.windows, near_cord=1, near_cord_mm=1, small_field=0)
    protocol = dataclasses.replace(
        protocol, windows=on_cord, phantoms=Phantoms(), augmentation=Augmentation()
    )
    run(dataset, tmp_path, protocol)
    rows = list(csv.reader((tmp_path / "log.csv").open()))[1:]
    logged = [float(row[1]) for row in rows]
    # masks are soft at the border, so even a perfect prediction has a loss
    training_set = prepare_training_set(bids_scans(dataset)[:2], protocol)
    masks = [make_batch(training_set, protocol, 0, step)[1] for step in range(60)]
    loss = losses.make_loss(protocol.loss.cross_entropy)
    masks = [np.clip(mask, 1e-6, 1 - 1e-6) for mask in masks]
    perfect = np.mean([float(loss(mask, np.log(mask / (1 - mask)))) for mask in masks])
    assert logged[-1] - perfect < 0.5 * (logged[0] - perfect)


def test_the_command_trains_and_resumes(dataset, tmp_path):
    protocol = tmp_path / "tiny.toml"
    protocol.write_text(
        "[network]\nfilters = 8\ndilation_rates = [6]\n"
        "[windows]\nsize = 16\nbatch = 1\n[optimiser]\nsteps = 2\nvalidate_every = 1\n"
    )
    command = [sys.executable, "-m", "gmseg", "train", str(dataset), "--split", "b"]
    command += ["--out", str(tmp_path / "out"), "--protocol", str(protocol)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "model.weights.h5" in done.stdout
    card = load_model(tmp_path / "out" / "model.json")
    assert card.command.startswith("gmseg train bids")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
    (tmp_path / "out" / "model.json").unlink()
    subprocess.run([*command, "--resume"], capture_output=True, check=True)
    assert load_model(tmp_path / "out" / "model.json").weights_sha256 == card.weights_sha256
