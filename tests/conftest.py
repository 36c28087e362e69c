"""What every test may need: the engine's settings, and the real scans in ``../shared``."""

import os
import signal
from pathlib import Path

import pytest

# before anything imports keras, matplotlib or onnxruntime
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["MPLBACKEND"] = "Agg"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# jobs in the background, and under nohup, start with ignored signals, which tests send
for _name, _handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    _number = getattr(signal, _name, None)  # Windows has no SIGHUP
    if _number is not None and signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        if os.environ.get("GMSEG_REQUIRE_SHARED") == "1":
            pytest.fail("GMSEG_REQUIRE_SHARED=1, but the real scans of ../shared are missing")
        pytest.skip("needs the real scans of ../shared")
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A BIDS folder with three labelled scans of two synthetic subjects."""
    from tiny_training import write_dataset

    return write_dataset(tmp_path_factory.mktemp("bids"))
