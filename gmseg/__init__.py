"""gmseg: segment the spinal cord's gray matter in MRI."""

import lazy_loader

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str):
    if name == "__version__":
        from importlib import metadata

        return metadata.version("gmseg")
    return _public(name)
