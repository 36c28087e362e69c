"""Temporary files are private to a process, and those of killed processes are removed."""

import os
import signal
import subprocess
import sys

import h5py
import pytest

from gmseg.io import files, temporary

HOLD = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from gmseg.io import temporary
with ExitStack() as stack:
    output = Path(sys.argv[1])
    file = stack.enter_context(temporary.temporary_file(output))
    folder = stack.enter_context(temporary.temporary_folder(output))
    stack.enter_context(temporary.locked(output))
    (folder / "soft.nii").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def output(tmp_path):
    return tmp_path / "mask.nii.gz"


@pytest.fixture
def other_process(output):
    """A process that works on the same output."""
    command = [sys.executable, "-c", HOLD, str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_only_leftovers_of_killed_processes_are_removed(output, other_process):
    in_use = set(output.parent.iterdir())
    assert len(in_use) == 3
    files.write_text(output, "mine")
    assert set(output.parent.iterdir()) == in_use | {output}
    with pytest.raises(BlockingIOError), temporary.locked(output, wait=False):
        pass
    os.kill(other_process.pid, signal.SIGKILL)
    other_process.wait()
    files.write_text(output.with_name("other.nii.gz"), "another output")
    assert in_use < set(output.parent.iterdir())
    files.write_text(output, "mine")
    assert {path.name for path in output.parent.iterdir()} == {"mask.nii.gz", "other.nii.gz"}


def test_a_planted_link_is_left_alone(output, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").touch()
    with temporary.temporary_folder(output) as folder:
        name = folder.name
    link = output.parent / name
    link.symlink_to(tmp_path / "data")
    temporary.remove_leftovers(output)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["precious"]


def test_a_library_may_lock_the_file_that_it_writes(output):
    with files.atomic_path(output) as file, h5py.File(file, "w") as content:
        content["a"] = 1
    assert h5py.is_hdf5(output)


def test_a_temporary_folder_is_private(output):
    with temporary.temporary_folder(output) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(output.parent.iterdir()) == []
