"""The machine, described without its name: processor, memory, system, versions."""

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil
from processes import cores_here

from gmseg.io.resources import commit

PACKAGES = (
    "numpy",
    "scipy",
    "nibabel",
    "onnxruntime",
    "openvino",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "distributed",
)
INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")


def described() -> dict[str, str]:
    """Return what is told of the machine, as lines of a table."""
    cores = len(cores_here()) or os.cpu_count()
    physical = psutil.cpu_count(logical=False)
    told = {
        "processor": f"{_processor()}, {cores} cores for this process"
        + (f" ({physical} physical in all)" if physical and physical != cores else ""),
        "instructions": ", ".join(_instructions()) or "unknown",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": _system(),
        "Python": platform.python_version(),
        "packages": ", ".join(f"{name} {version}" for name, version in _versions()),
        "gmseg": commit(),
        "busy before": f"{os.getloadavg()[0]:.1f} processes, mean of a minute",
    }
    return told


def _processor() -> str:
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _instructions() -> list[str]:
    for line in _cpuinfo():
        if line.startswith(("flags", "Features")):
            has = line.partition(":")[2].split()
            return [name for name in INSTRUCTIONS if name in has]
    return []


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


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
