"""What half precision does to masks: ``python experiments/precision.py SHARED_DATA``.

SHARED_DATA holds ``t2starw-multicentre`` and ``t2s-small-fov``. Every labelled scan is segmented by
the default model in single precision and in bfloat16, as OpenVINO computes with it on processors
that have it: weights and what passes between layers have 8 bits, sums are in single precision.
Where this processor has none, PyTorch takes OpenVINO's place. The table goes into
docs/performance.md.
"""

import sys
from pathlib import Path

import numpy as np
from cross_validation import MULTICENTRE, SMALL_FIELD, multicentre_cases, small_field_case

from gmseg import dice, dice_labelled, load_model, load_network
from gmseg.core import geometry
from gmseg.errors import InputError
from gmseg.inference import engines, segment
from gmseg.inference.engines import Predictor
from gmseg.io.files import write_between
from gmseg.models.export import torch_state

PAGE = Path(__file__).parent / "performance.md"
BEGIN, END = "<!-- precision: python experiments/precision.py -->", "<!-- end of precision -->"


def half_precision(model) -> tuple[Predictor, str]:
    """Return a model's network in bfloat16, and what computes it."""
    try:
        return engines.load_predictor(model, "bf16"), "OpenVINO"
    except InputError:
        pass
    import torch

    from gmseg.models.torch_network import GrayMatterNetwork

    network = GrayMatterNetwork(dropout=0.0)
    state = torch_state(load_network(model))
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    network = network.eval().bfloat16().float()  # weights of 8 bits
    for layer in network.children():  # and so is what a layer gives
        layer.register_forward_hook(lambda *told: told[-1].bfloat16().float())

    def whole(windows):
        given = torch.from_numpy(np.ascontiguousarray(windows, np.float32))[:, None].bfloat16()
        with torch.no_grad():
            return np.concatenate([network(one[None].float()).numpy()[:, 0] for one in given])

    return Predictor(whole), "PyTorch, by rounding, for this processor has none"


def main(folder):
    """Segment every labelled scan both ways, and write the table."""
    folder, model = Path(folder), load_model()
    half, engine = half_precision(model)
    columns = [
        "scan",
        "Dice of the two masks",
        "Dice with the reference, single",
        "bf16",
        "area, bf16 over single",
    ]
    lines = [f"| {' | '.join(columns)} |", "|---|--:|--:|--:|--:|"]
    rows = []
    single_engine = segment.load_predictor
    for case in [*multicentre_cases(folder / MULTICENTRE), small_field_case(folder / SMALL_FIELD)]:
        masks = {}
        for name, load in (("single", single_engine), ("bf16", lambda *_: half)):
            segment.load_predictor = load
            masks[name] = np.asarray(segment.segment(case.scan, model).mask.dataobj) > 0
        scores = [dice_labelled(mask, case.reference, case.axis) for mask in masks.values()]
        areas = [geometry.slice_areas_mm2(mask, case.affine).sum() for mask in masks.values()]
        rows.append((dice(*masks.values()), *scores, areas[1] / areas[0]))
        cells = " | ".join(f"{value:.3f}" for value in rows[-1])
        lines.append(f"| {case.name} | {cells} |")
        print(lines[-1], flush=True)
    mean = " | ".join(f"**{value:.3f}**" for value in np.mean(rows, axis=0))
    lines.append(f"| **mean** | {mean} |\n")
    about = (
        f"Default model, labelled slices; bfloat16 computed by {engine}. The model was trained on "
        f"all these scans but the last: only the differences say something.\n"
    )
    write_between(PAGE, BEGIN, END, "\n".join([about, *lines]))


if __name__ == "__main__":
    main(*sys.argv[1:])
