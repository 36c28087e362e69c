"""Describe the machine without its name."""

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil
from processes import available_cores

from gmseg.io.resources import commit

PACKAGES = ("numpy", "scipy", "nibabel", "onnxruntime", "keras", "tensorflow", "tensorflow-cpu")


def describe() -> dict[str, str]:
    """Return the description of the machine, one entry per line of the page."""
    cores = len(available_cores()) or os.cpu_count()
    return {
        "processor": f"{_processor()}, {cores} cores for this process",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": _system(),
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {version}" for name, version in _versions()),
        "gmseg": commit(),
        "load before": f"{os.getloadavg()[0]:.1f} processes, mean of a minute",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _system() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.machine()}"
    except OSError:
        return f"{platform.system()} {platform.machine()}"


def _versions():
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
