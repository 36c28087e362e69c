"""Carry the weights of `build.py` into models of gmseg.

    python experiments/default_model/ship.py OUT FOLDER [--default NAME] [--unet NAME]

Writes NAME.weights.h5, NAME.onnx and NAME.json of the paper's network, and NAME.onnx and
NAME.json of the U-Net, into FOLDER. Scores and curves are added to the cards afterwards.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from build import WIDTHS

from gmseg.core.model import Model
from gmseg.core.network import NetworkSizes
from gmseg.io.resources import commit
from gmseg.models import export, onnx_graph, registry
from gmseg.models.factory import build, network_entry
from gmseg.models.unet import UNetSizes

WINDOW = 128
TEMPERATURE = 0.4
"""Divides the logits of GM. The soft targets of the training are wider than the references: without
it the calibration error of the fold models is 0.039, with it 0.011. Chosen on the folds; with each
subject left out, the others chose the same."""
COMMON = {"window": WINDOW, "standardise": "volume", "threshold": 0.5}
DATA = (
    "openly licensed scans (2018 GM challenge data, spine-generic single subject, errsm_18, "
    "sub-test001), automatic labels of the second runs by the 2017 release, and cord sections of "
    "36 subjects and of a 7 T template painted over real cords"
)


def describe(out: Path) -> tuple[str, str]:
    """Return what the networks in a folder of `build.py` were trained on, and the command."""
    facts = json.loads((out / "facts.json").read_text())
    scans = ", ".join(facts["scans"])
    return f"{len(facts['scans'])} scans: {scans}; {DATA}", facts["command"]


def calibrated(weights: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a network, with the logits of GM divided by `TEMPERATURE`."""
    state = torch.load(weights, weights_only=True)
    for name in ("logits.weight", "logits.bias"):
        state[name][0] /= TEMPERATURE
    return state


def ship_default(out: Path, folder: Path, name: str) -> Model:
    """Write the student as a model with weights and graph."""
    sizes = NetworkSizes(dropout=0.0, batchnorm_momentum=0.95, outputs=2)
    network = build(sizes)
    export.fill_from_torch(network, calibrated(out / "student/weights.pt"))
    trained_on, command = describe(out)
    teachers = "; distilled from the 2017 release (MIT) and the U-Net of the same folder"
    model = registry.save_model(
        network,
        folder,
        name,
        network=network_entry(sizes),
        trained_on=trained_on + teachers,
        command=command,
        commit=commit(),
        **COMMON,
    )
    export.write_graph(model)
    return registry.load_model(registry.card_of(model.weights))


def ship_unet(out: Path, folder: Path, name: str) -> Model:
    """Write the U-Net as a model whose weights are those in its graph, in half precision."""
    sizes = UNetSizes(WIDTHS, dropout=0.0, batchnorm_momentum=0.95, outputs=2)
    network = build(sizes)
    export.fill_from_torch(network, calibrated(out / "teacher/weights.pt"))
    trained_on, command = describe(out)
    return registry.save_graph(
        onnx_graph.to_onnx(network, half=True).SerializeToString(),
        folder,
        name,
        network=network_entry(sizes),
        trained_on=trained_on,
        command=command,
        commit=commit(),
        **COMMON,
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of build.py")
    parser.add_argument("folder", type=Path, help="folder of the models, created if missing")
    parser.add_argument("--default", default="default", help="name of the paper's network")
    parser.add_argument("--unet", default="unet", help="name of the U-Net")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for ship, name in ((ship_default, options.default), (ship_unet, options.unet)):
        model = ship(options.out, options.folder, name)
        print(registry.card_of(model.weights), model.weights.stat().st_size)


if __name__ == "__main__":
    main()
