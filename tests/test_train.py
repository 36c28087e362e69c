"""Training: loss, schedule, repeatability, resume."""

import csv
import dataclasses
import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage
from training import small

from gmseg import InputError, load_model, pipeline, pretrained, segment, train, window
from gmseg.augment import Augmentation
from gmseg.datasets import bids_scans
from gmseg.grid import to_working_grid
from gmseg.image import check_scan
from gmseg.phantom import make_phantom
from gmseg.protocol import Optimiser, Phantoms
from gmseg.samples import make_batch, prepare_training_scan


def run(dataset, out, protocol=None, **choices):
    return train.train(dataset, out, protocol=protocol or small(), split="b", **choices)


def weights_of(model):
    return [np.asarray(w) for w in pretrained.load_network(model).weights]


# ------------------------------------------------------------------------- loss and schedule


def test_loss_of_known_masks():
    reference = np.zeros((1, 4, 4, 1), np.float32)
    reference[0, :2] = 1
    dice_alone = train.make_loss(0.0)
    assert float(dice_alone(reference, reference)) == pytest.approx(0, abs=1e-6)
    nothing = np.full_like(reference, 1e-7)
    assert float(dice_alone(reference, nothing)) == pytest.approx(1 - 1 / 9, abs=1e-4)
    half = np.full_like(reference, 0.5)
    entropy = 16 * np.log(2) / 9  # of 16 pixels, per pixel of GM (smooth 1)
    assert float(train.make_loss(1.0)(reference, half)) == pytest.approx(entropy, abs=1e-5)
    mixed = float(train.make_loss(0.25)(reference, half))
    assert mixed == pytest.approx(0.75 * (1 - 9 / 17) + 0.25 * entropy, abs=1e-5)


def test_poly_schedule():
    optimiser = Optimiser(rate=0.001, power=0.9, steps=1000)
    assert train.poly_rate(0, optimiser) == 0.001
    assert train.poly_rate(500, optimiser) == pytest.approx(0.001 * 0.5**0.9)
    assert train.poly_rate(999, optimiser) < 1e-5


# ------------------------------------------------------------------------------- calibration


def test_the_shift_makes_areas_right():
    made = make_phantom(seed=3, spacing_mm=(0.5, 0.5, 5), shape=(110, 110, 2))
    gm = np.asarray(made.mask.dataobj) == 1
    scan = check_scan(made.image, name="phantom")
    ready = pipeline.prepare(scan, load_model(), cord=gm)
    case = train.Case(ready, gm, 2)
    truth = window.cut(to_working_grid(gm.astype(np.float32), scan.affine).data, ready.centres, 200)
    logits = 8 * (ndimage.gaussian_filter(truth, (0, 1, 1)) - 0.5)
    for wrong in (1.5, -1.0, 0.0):
        soft = 1 / (1 + np.exp(-(logits + wrong)))
        assert train.logit_shift([case], [soft]) == pytest.approx(wrong, abs=0.35)
        mask = pipeline.soft_on_scan(soft, ready) > 0.5
        assert (wrong == 0) or abs(mask.sum() / gm.sum() - 1) > 0.1
    assert train.logit_shift([case], [np.zeros_like(truth)]) == 0


# ---------------------------------------------------------------------------------- training


def test_a_run_repeats_resumes_and_leaves_a_model(dataset, tmp_path):
    whole = run(dataset, tmp_path / "whole")
    again = run(dataset, tmp_path / "again")
    for one, two in zip(weights_of(whole), weights_of(again), strict=True):
        np.testing.assert_array_equal(one, two)

    def interrupt(state):
        if state["step"] == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "cut", progress=interrupt)
    with np.load(tmp_path / "cut" / "checkpoint.npz") as saved:
        assert saved["step"] == 5
    with pytest.raises(InputError, match="exists; use --resume"):
        run(dataset, tmp_path / "cut")
    with pytest.raises(InputError, match="of a run with another protocol, seed or data"):
        run(dataset, tmp_path / "cut", resume=True, seed=7)
    resumed = run(dataset, tmp_path / "cut", resume=True)
    for one, two in zip(weights_of(whole), weights_of(resumed), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)

    assert whole.trained_on.startswith("2 scans: sub-aSes1_T2starw, sub-aSes2_T2starw; and 1 made")
    assert whole.scores[0]["on"] == "sub-b_T2starw"
    logs = [list(csv.reader((tmp_path / n / "log.csv").open())) for n in ("whole", "cut")]
    assert logs[0][0] == ["step", "loss", "validation_dice"]
    assert [row[0] for row in logs[0][1:]] == ["4", "8"]
    np.testing.assert_allclose(
        np.array(logs[0][1:], float)[:, 2], np.array(logs[1][1:], float)[:, 2], atol=1e-3
    )
    model = load_model(tmp_path / "whole" / "model.json")
    scan = next((dataset / "sub-b").rglob("*.nii.gz"))
    assert segment(scan, model).mask.shape == (110, 110, 2)


def test_nothing_of_another_run_is_replaced(dataset, tmp_path):
    (tmp_path / "model.json").write_text("somebody's")
    with pytest.raises(InputError, match=r"model\.json: exists; use --resume to go on"):
        run(dataset, tmp_path)
    with pytest.raises(InputError, match=r"model\.json: exists"):
        run(dataset, tmp_path, resume=True)  # there is no checkpoint to resume from
    (tmp_path / "checkpoint.npz").write_text("junk")
    with pytest.raises(InputError, match="is no checkpoint that can be read"):
        run(dataset, tmp_path, resume=True)
    assert (tmp_path / "model.json").read_text() == "somebody's"
    with pytest.raises(InputError, match="is a file, not a folder"):
        run(dataset, tmp_path / "model.json")


def test_the_loss_falls(dataset, tmp_path):
    protocol = small(steps=60, validate_every=15, rate=5e-3)
    # two slices as they are, again and again: they must be learnt by heart
    on_cord = dataclasses.replace(protocol.windows, near_cord=1, near_cord_mm=1, small_field=0)
    protocol = dataclasses.replace(
        protocol, windows=on_cord, phantoms=Phantoms(), augmentation=Augmentation()
    )
    run(dataset, tmp_path, protocol)
    rows = list(csv.reader((tmp_path / "log.csv").open()))[1:]
    losses = [float(row[1]) for row in rows]
    # masks are soft at the border, so that a perfect prediction has a loss, too
    scans = [prepare_training_scan(item) for item in bids_scans(dataset)[:2]]
    masks = [make_batch(scans, [], protocol, 0, step)[1] for step in range(60)]
    loss = train.make_loss(protocol.loss.cross_entropy)
    perfect = np.mean([float(loss(mask, mask)) for mask in masks])
    assert losses[-1] - perfect < 0.5 * (losses[0] - perfect)


def test_the_command_trains_and_resumes(dataset, tmp_path):
    protocol = tmp_path / "tiny.toml"
    protocol.write_text(
        "[windows]\nsize = 16\nbatch = 1\n[optimiser]\nsteps = 2\nvalidate_every = 1\n"
    )
    command = [sys.executable, "-m", "gmseg.cli", "train", str(dataset), "--split", "b"]
    command += ["--out", str(tmp_path / "out"), "--protocol", str(protocol)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "model.weights.h5" in done.stdout
    card = load_model(tmp_path / "out" / "model.json")
    assert card.command.startswith("gmseg train bids")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
