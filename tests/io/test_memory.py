"""Memory limits of containers."""

import pytest

from gmseg import InputError
from gmseg.io import memory

FREE = 8 * 2**30
V2 = {"memory.max": "max", "memory.current": "0", "memory.stat": "inactive_file 0"}


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Return a function that writes control groups, and the line that names the process's own."""
    root, own = tmp_path / "cgroup", tmp_path / "self-cgroup"
    monkeypatch.setattr(memory, "_CGROUPS", root)
    monkeypatch.setattr(memory, "_OWN_CGROUP", own)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: type("", (), {"available": FREE}))

    def write(own_line: str, groups: dict[str, dict[str, str]]) -> None:
        own.write_text(own_line + "\n")
        for group, files in groups.items():
            (root / group).mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (root / group / name).write_text(text + "\n")

    return write


def test_without_control_groups_the_system_decides(cgroups):
    assert memory.available_bytes() == FREE


def test_limit_of_cgroup_v2_without_the_pages_of_files(cgroups):
    used = {"memory.current": "700", "memory.stat": "anon 600\ninactive_file 100"}
    cgroups("0::/", {"": V2 | {"memory.max": "1000"} | used})
    assert memory.available_bytes() == 400


@pytest.mark.parametrize("limited", ["", "jobs", "jobs/step", "jobs/step/task"])
def test_the_limit_of_every_ancestor_counts_in_cgroup_v2(cgroups, limited):
    groups = dict.fromkeys(("", "jobs", "jobs/step", "jobs/step/task"), V2)
    other = {"jobs/other": V2 | {"memory.max": "5"}}
    limit = {limited: V2 | {"memory.max": "1000", "memory.current": "300"}}
    cgroups("0::/jobs/step/task", groups | limit | other)
    assert memory.available_bytes() == 700


def test_the_smallest_limit_counts(cgroups):
    groups = {"": V2 | {"memory.max": "5000"}, "a": V2 | {"memory.max": "2000"}, "a/b": V2}
    cgroups("0::/a/b", groups)
    assert memory.available_bytes() == 2000


def test_limit_of_cgroup_v1(cgroups):
    usage = {"memory.usage_in_bytes": "900", "memory.stat": "cache 9\ntotal_inactive_file 50"}
    groups = {
        "memory": {"memory.limit_in_bytes": str(2**63 - 4096)} | usage,
        "memory/slurm/job": {"memory.limit_in_bytes": "1000"} | usage,
        "cpu/slurm/job": {"memory.limit_in_bytes": "1"} | usage,
    }
    cgroups("9:cpu,cpuacct:/slurm/job\n5:memory:/slurm/job/step\n0::/", groups)
    assert memory.available_bytes() == 150


def test_a_container_of_cgroup_v1_sees_its_group_at_the_root(cgroups):
    """The path is the host's, which is not mounted in the container."""
    files = {"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "400", "memory.stat": ""}
    cgroups("5:hugetlb,memory:/docker/0123", {"memory": files})
    assert memory.available_bytes() == 600


def test_more_used_than_allowed_leaves_nothing(cgroups):
    cgroups("0::/", {"": V2 | {"memory.max": "1000", "memory.current": "1200"}})
    assert memory.available_bytes() == 0
    with pytest.raises(InputError, match=r"t\.nii: needs 2\.0 GiB of memory, read whole, and 0\.0"):
        memory.check_memory("t.nii", 2 * 2**30, "whole")


def test_memory_of_this_machine_is_plausible():
    assert 2**20 < memory.available_bytes() < 2**50
