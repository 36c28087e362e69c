"""gmseg: segment the spinal cord's gray matter in MRI."""

from gmseg.errors import InputError

__all__ = [
    "InputError",
    "Model",
    "Segmentation",
    "dice",
    "dice_labelled",
    "evaluate",
    "list_models",
    "load_model",
    "load_network",
    "measure_mask",
    "segment",
]

_HOMES = {
    "Model": "pretrained",
    "Segmentation": "pipeline",
    "dice": "metrics",
    "dice_labelled": "metrics",
    "evaluate": "evaluation",
    "list_models": "pretrained",
    "load_model": "pretrained",
    "load_network": "pretrained",
    "measure_mask": "morphometry",
    "segment": "pipeline",
}


def __getattr__(name):
    if name == "__version__":
        from importlib import metadata

        return metadata.version("gmseg")
    # imports nothing heavy until it is asked for: `gmseg --help` answers at once
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"gmseg.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'gmseg' has no attribute {name!r}")
