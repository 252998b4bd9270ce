"""Control groups of both versions, from trees of files as kernels show them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfysoak_probes.containers.cgroup import groups_of, limits_of
from comfysoak_probes.containers.usage import read_cpu, read_memory
from comfysoak_probes.server.server_process import container_of
from tests.probes.server_processes import write_tree

ID = "4f" * 32
GIB = 1024**3

VERSION_2 = {
    "cgroup.controllers": "cpu memory pids\n",
    "system.slice/cpu.max": "400000 100000\n",
    "system.slice/memory.max": "17179869184\n",
    "system.slice/memory.events": "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 0\n",
    f"system.slice/docker-{ID}.scope/cpu.max": "max 100000\n",
    f"system.slice/docker-{ID}.scope/cpu.stat": (
        "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 100\nnr_throttled 40\n"
        "throttled_usec 1500000\n"
    ),
    f"system.slice/docker-{ID}.scope/memory.max": "8589934592\n",
    f"system.slice/docker-{ID}.scope/memory.current": "4294967296\n",
    f"system.slice/docker-{ID}.scope/memory.peak": "8589934592\n",
    f"system.slice/docker-{ID}.scope/memory.swap.current": "1048576\n",
    f"system.slice/docker-{ID}.scope/memory.stat": "anon 3221225472\nfile 1073741824\nkernel 1\n",
    f"system.slice/docker-{ID}.scope/memory.pressure": (
        "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=2.00 avg60=0.00 avg300=0.00 total=1\n"
    ),
    f"system.slice/docker-{ID}.scope/memory.events": "low 0\nhigh 0\nmax 19\noom 1\noom_kill 1\n",
    f"system.slice/docker-{ID}.scope/pids.current": "42\n",
    f"system.slice/docker-{ID}.scope/pids.max": "4096\n",
}

VERSION_1 = {
    f"cpu/docker/{ID}/cpu.cfs_quota_us": "150000\n",
    f"cpu/docker/{ID}/cpu.cfs_period_us": "100000\n",
    f"cpu/docker/{ID}/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 250000000\n",
    "cpu/docker/cpu.cfs_quota_us": "-1\n",
    "cpu/docker/cpu.cfs_period_us": "100000\n",
    f"cpuacct/docker/{ID}/cpuacct.usage": "3500000000\n",
    "memory/memory.limit_in_bytes": "9223372036854771712\n",
    f"memory/docker/{ID}/memory.limit_in_bytes": "2147483648\n",
    f"memory/docker/{ID}/memory.usage_in_bytes": "1073741824\n",
    f"memory/docker/{ID}/memory.max_usage_in_bytes": "2147483648\n",
    f"memory/docker/{ID}/memory.stat": "cache 1\ntotal_cache 536870912\ntotal_rss 1\ntotal_swap 4096\n",
    f"memory/docker/{ID}/memory.failcnt": "5\n",
    f"memory/docker/{ID}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    f"pids/docker/{ID}/pids.current": "7\n",
    f"pids/docker/{ID}/pids.max": "max\n",
}
LINES_OF_1 = "".join(
    f"{number}:{names}:/docker/{ID}\n" for number, names in enumerate(("cpu,cpuacct", "memory", "pids", "name=systemd"))
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Where cgroups and processes of a test are."""
    write_tree(tmp_path, {"proc/self/cgroup": "0::/user.slice\n"})
    return tmp_path


def test_version_2_with_limits_of_the_groups_above(tree: Path) -> None:
    """The lowest limit counts wherever it stands; use is that of the process's own group."""
    write_tree(tree / "cg", VERSION_2)
    write_tree(tree, {"proc/7/cgroup": f"0::/system.slice/docker-{ID}.scope\n"})
    groups = groups_of(7, tree / "cg", tree / "proc")
    limits = limits_of(groups)
    assert (limits.cpu_cores, limits.memory_bytes, limits.processes) == (4.0, 8 * GIB, 4096)
    cpu, memory = read_cpu(groups), read_memory(groups, limits)
    assert (cpu.seconds, cpu.periods, cpu.periods_throttled, cpu.throttled_s) == (2.5, 100, 40, 1.5)
    assert (memory.used_bytes, memory.file_bytes, memory.peak_bytes) == (4 * GIB, GIB, 8 * GIB)
    assert (memory.swap_bytes, memory.pressure_ratio) == (1048576, 0.125)
    assert (memory.limit_hits, memory.oom_events, memory.oom_kills, memory.oom_kills_above) == (19, 1, 1, 3)


def test_a_limit_above_strikes_above(tree: Path) -> None:
    """Where the group above has the lowest limit, its blows are counted there; kills at the process's own group."""
    write_tree(tree / "cg", VERSION_2 | {f"system.slice/docker-{ID}.scope/memory.max": "max\n"})
    write_tree(tree, {"proc/7/cgroup": f"0::/system.slice/docker-{ID}.scope\n"})
    groups = groups_of(7, tree / "cg", tree / "proc")
    limits = limits_of(groups)
    assert limits.memory_bytes == 16 * GIB
    memory = read_memory(groups, limits)
    assert (memory.limit_hits, memory.oom_events, memory.oom_kills) == (7, 2, 1)


def test_version_1(tree: Path) -> None:
    """Each controller has a tree of its own; no limit is a huge number, which is none; what it lacks is None."""
    write_tree(tree / "cg", VERSION_1)
    write_tree(tree, {"proc/7/cgroup": LINES_OF_1 + "0::/\n"})
    groups = groups_of(7, tree / "cg", tree / "proc")
    limits = limits_of(groups)
    assert (limits.cpu_cores, limits.memory_bytes, limits.processes) == (1.5, 2 * GIB, None)
    cpu, memory = read_cpu(groups), read_memory(groups, limits)
    assert (cpu.seconds, cpu.periods, cpu.periods_throttled, cpu.throttled_s) == (3.5, 10, 4, 0.25)
    assert (memory.used_bytes, memory.file_bytes, memory.peak_bytes) == (GIB, GIB // 2, 2 * GIB)
    assert (memory.swap_bytes, memory.limit_hits, memory.oom_kills) == (4096, 5, 2)
    assert (memory.oom_events, memory.pressure_ratio) == (None, None)


def test_no_limit_at_all(tree: Path) -> None:
    """`max` everywhere: no limits, which is not the same as limits that cannot be read."""
    write_tree(
        tree / "cg", {"cgroup.controllers": "", "user.slice/memory.max": "max\n", "user.slice/cpu.max": "max 1\n"}
    )
    write_tree(tree, {"proc/7/cgroup": "0::/user.slice\n"})
    groups = groups_of(7, tree / "cg", tree / "proc")
    assert not groups.hidden
    assert not limits_of(groups).any


def test_beside_it_in_its_container(tree: Path) -> None:
    """A container is shown its own group as the root: what is in our group has that root's limits, others none."""
    write_tree(tree / "cg", {"cgroup.controllers": "memory\n", "cgroup.events": "", "memory.max": "1073741824\n"})
    paths = {"proc/self/cgroup": f"0::/docker/{ID}\n", "proc/7/cgroup": f"0::/docker/{ID}\n",
             "proc/8/cgroup": "0::/docker/" + "ab" * 32 + "\n", "proc/9/cgroup": "0::/../other\n"}  # fmt: skip
    write_tree(tree, paths)
    assert limits_of(groups_of(7, tree / "cg", tree / "proc")).memory_bytes == GIB
    assert groups_of(8, tree / "cg", tree / "proc").hidden
    assert groups_of(9, tree / "cg", tree / "proc").hidden
    assert groups_of(10, tree / "cg", tree / "proc").hidden  # there is no such process


def test_the_root_of_a_machine_is_nobodys_own(tree: Path) -> None:
    """A process that was put into no group: what the root counts is everybody's."""
    write_tree(tree / "cg", {"cpu/release_agent": "", "cpu/cpu.stat": "nr_periods 0\n", "cpuacct/release_agent": "",
                             "cpuacct/cpuacct.usage": "9\n", "unified/cpu.stat": "usage_usec 5\n"})  # fmt: skip
    write_tree(tree, {"proc/7/cgroup": "2:cpuacct:/\n1:cpu:/\n0::/\n"})
    groups = groups_of(7, tree / "cg", tree / "proc")
    assert groups.hidden
    assert not groups.outside
    assert read_cpu(groups).seconds is None


def test_odd_files_are_no_values(tree: Path) -> None:
    """Empty, half a line, not a number, a number beyond 64 bits."""
    odd = {
        "cgroup.controllers": "",
        "g/memory.max": "many\n",
        "g/cpu.max": "1 0\n",
        "g/memory.current": "9" * 40,
        "g/memory.stat": "file\nfile x\n\n",
        "g/memory.events": "oom_kill -1\nmax",
        "g/cpu.stat": "",
        "g/memory.pressure": "some avg10=nan\n",
    }
    write_tree(tree / "cg", odd)
    write_tree(tree, {"proc/7/cgroup": "nonsense\n0::/g\n"})
    groups = groups_of(7, tree / "cg", tree / "proc")
    limits = limits_of(groups)
    assert not limits.any
    memory = read_memory(groups, limits)
    assert (memory.used_bytes, memory.file_bytes, memory.oom_kills, memory.limit_hits) == (None, None, None, None)


@pytest.mark.parametrize(
    ("path", "container"),
    [
        (f"0::/system.slice/docker-{ID}.scope", ID),
        (f"4:memory:/docker/{ID}", ID),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope", ID),
        (f"0::/kubepods/besteffort/podab-cd/{ID}", ID),
        (f"0::/kubepods.slice/crio-{ID}.scope/container", ID),
        (f"0::/machine.slice/libpod-{ID}.scope/container", ID),
        (f"0::/docker/{'ab' * 32}/docker/{ID}", ID),  # a container in a container
        (f"0::/system.slice/containerd.service/kubepods-burstable-podx.slice:cri-containerd:{ID}", ID),
        ("0::/user.slice/user-1000.slice/session-2.scope", None),
        (f"0::/docker/{ID}ff", None),
        ("", None),
    ],
)
def test_the_container_stands_in_the_path(path: str, container: str | None) -> None:
    """As Docker, containerd, CRI-O and Podman name the groups of their containers; the innermost counts."""
    assert container_of(f"{path}\n") == container


def test_this_process_has_groups_wherever_it_runs() -> None:
    """The real files of this machine, where it has any: whatever is told has sensible values."""
    groups = groups_of(os.getpid())
    limits = limits_of(groups)
    cpu, memory = read_cpu(groups), read_memory(groups, limits)
    assert limits.cpu_cores is None or limits.cpu_cores > 0
    assert cpu.seconds is None or cpu.seconds > 0
    assert memory.used_bytes is None or memory.used_bytes > 0
    assert groups.hidden or groups.cpu or groups.memory or groups.processes
