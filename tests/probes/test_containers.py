"""A server's container from its start to its end: limits, use, kills, exit codes, restarts, and what hides them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_core.rows import Container, Event, Row
from comfysoak_probes.containers.engine import ContainerEngine
from comfysoak_probes.containers.source import ContainerSource
from comfysoak_probes.processes.search import Search
from comfysoak_probes.source import Tick
from tests.probes.answering import free_port
from tests.probes.server_processes import listening, write_tree
from tests.probes.standin_engine import StandinContainer, StandinEngine, standin_engine

ID, OTHER = "4f" * 32, "ab" * 32
GIB = 1024**3


@dataclass(slots=True)
class Machine:
    """One host: trees of files for processes and cgroups, the clocks, and the source that reads them."""

    folder: Path
    port: int = field(default_factory=free_port)
    clock: ManualClock = field(default_factory=ManualClock)
    system_s: float = 1000.0

    def source(self, *sockets: Path) -> ContainerSource:
        return ContainerSource(
            f"http://127.0.0.1:{self.port}",
            host="h",
            clock=self.clock,
            engine=ContainerEngine([str(path) for path in sockets]),
            search=Search(now_s=lambda: self.system_s),
            root=self.folder / "cg",
            proc=self.folder / "proc",
            system_s=lambda: self.system_s,
        )

    def read(self, source: ContainerSource, times: int = 1) -> list[Row]:
        rows: list[Row] = []
        for _ in range(times):
            now_ns = self.clock.advance(1.0)
            self.system_s += 1.0
            rows += source.read(Tick(now_ns, now_ns))
        return rows

    def live_in(self, pid: int, group: str, **files: str) -> Path:
        """Put a process into a cgroup with such files; its folder."""
        write_tree(self.folder / "proc", {f"{pid}/cgroup": f"0::/{group}\n", "self/cgroup": "0::/user.slice\n"})
        write_tree(self.folder / "cg", {"cgroup.controllers": "cpu memory pids\n"})
        write_tree(
            self.folder / "cg" / group, {name.replace("__", "."): text for name, text in (FILES | files).items()}
        )
        return self.folder / "cg" / group


FILES = {
    "cpu__max": "200000 100000\n",
    "cpu__stat": "usage_usec 1000000\nnr_periods 10\nnr_throttled 5\nthrottled_usec 500000\n",
    "memory__max": f"{8 * GIB}\n",
    "memory__current": f"{4 * GIB}\n",
    "memory__peak": f"{8 * GIB}\n",
    "memory__swap__current": "0\n",
    "memory__stat": "anon 1\nfile 2\n",
    "memory__pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "memory__events": "max 3\noom 0\noom_kill 0\n",
    "pids__current": "9\n",
    "pids__max": "100\n",
}
KILLED = "max 9\noom 1\noom_kill 1\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A host of the test's own."""
    return Machine(tmp_path)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[StandinEngine]:
    """An engine with one container."""
    with standin_engine(tmp_path / "engine.sock") as standin:
        standin.containers[ID] = StandinContainer(ID)
        yield standin


def events(rows: list[Row]) -> list[tuple[str, str | None, str]]:
    return [(row.kind, row.code, row.detail) for row in rows if isinstance(row, Event)]


def kinds(rows: list[Row]) -> list[tuple[str, str | None]]:
    return [(kind, code) for kind, code, _ in events(rows)]


def containers(rows: list[Row]) -> list[Container]:
    return [row for row in rows if isinstance(row, Container)]


def test_limits_and_use_of_a_container(machine: Machine, engine: StandinEngine) -> None:
    """Found by its port: told once with its limits, then a row a second with the engine's names; no secret in them."""
    with listening(machine.port) as pid:
        machine.live_in(pid, f"docker/{ID}")
        source = machine.source(engine.path)
        rows = machine.read(source, 3)
        source.close()
    assert kinds(rows) == [("container_found", None)]
    (told,) = [detail for _, _, detail in events(rows)]
    assert told == (
        f"container {ID[:12]} (comfy, yanwk/comfyui-boot:cu128-slim), process {pid}; limits: memory 8.00 GiB, 2 cores"
    )
    first, second = containers(rows)
    assert (first.container, first.name, first.image) == (ID[:12], "comfy", "yanwk/comfyui-boot:cu128-slim")
    assert (first.cpu_limit_cores, first.memory_limit_bytes, first.processes_limit) == (2.0, 8 * GIB, 100)
    assert (first.cpu_seconds, first.cpu_periods, first.cpu_periods_throttled) == (1.0, 10, 5)
    assert (first.cpu_throttled_s, first.processes, first.oom_kills, first.limit_hits) == (0.5, 9, 0, 3)
    assert (first.memory_used_bytes, first.memory_peak_bytes, first.missing) == (4 * GIB, 8 * GIB, None)
    assert second.at_ns - first.at_ns == 1_000_000_000
    assert "secret" not in repr(rows)


def test_a_kill_for_memory_is_an_event_with_its_code(machine: Machine, engine: StandinEngine) -> None:
    """oom_kill rises while the container lives on: CGROUP_OOM with what it had and may have; those before us do not."""
    with listening(machine.port) as pid:
        group = machine.live_in(pid, f"docker/{ID}", memory__events="max 1\noom 1\noom_kill 4\n")
        source = machine.source(engine.path)
        assert kinds(machine.read(source, 2)) == [("container_found", None)]
        write_tree(group, {"memory.events": "max 9\noom 2\noom_kill 5\n"})
        ((kind, code, detail),) = events(machine.read(source, 2))
        source.close()
    assert (kind, code) == ("container_oom_kill", "CGROUP_OOM")
    assert "oom_kill rose from 4 to 5; limits: memory 8.00 GiB, 2 cores, most used 8.00 GiB" in detail


def test_a_limit_that_is_changed_is_seen(machine: Machine, engine: StandinEngine) -> None:
    """`docker update --memory` while it runs: within ten seconds."""
    with listening(machine.port) as pid:
        group = machine.live_in(pid, f"docker/{ID}")
        source = machine.source(engine.path)
        machine.read(source, 2)
        write_tree(group, {"memory.max": f"{GIB}\n"})
        rows = containers(machine.read(source, 11))
        source.close()
    assert rows[-1].memory_limit_bytes == GIB


class TestEnds:
    """The server's process is gone: what became of its container."""

    @pytest.mark.parametrize(
        ("exit_code", "oom", "code", "words"),
        [
            (137, True, "CGROUP_OOM", "killed for memory, exit code 137"),
            (137, False, None, "killed, not for memory as far as is told, exit code 137"),
            (139, False, None, "ended by signal 11, exit code 139"),
            (1, False, None, "ended, exit code 1"),
            (0, False, None, "ended, exit code 0"),
        ],
    )
    def test_the_engine_tells_how_it_ended(
        self, machine: Machine, engine: StandinEngine, exit_code: int, oom: bool, code: str | None, words: str
    ) -> None:
        """Its exit code, and whether it was for memory."""
        source = machine.source(engine.path)
        with listening(machine.port) as pid:
            machine.live_in(pid, f"docker/{ID}")
            machine.read(source, 2)
        engine.dies(engine.containers[ID], machine.system_s + 0.5, exit_code, oom=oom)
        ((kind, told_code, detail),) = events(machine.read(source, 3))
        source.close()
        assert (kind, told_code) == ("container_exited", code)
        assert detail.endswith(f": {words}")

    def test_a_container_started_again_at_once_is_told_by_its_events(
        self, machine: Machine, engine: StandinEngine
    ) -> None:
        """By a restart policy it runs again before we look: its state says nothing any more, the events do."""
        source = machine.source(engine.path)
        with listening(machine.port) as pid:
            machine.live_in(pid, f"docker/{ID}")
            machine.read(source, 2)
        container = engine.containers[ID]
        engine.dies(container, machine.system_s + 0.2, 137, oom=True)
        container.running, container.oom_killed, container.exit_code = True, False, 0
        container.started, container.restarts = "2026-11-22T11:00:00Z", 1
        with listening(machine.port) as pid:
            machine.live_in(pid, f"docker/{ID}")
            rows = machine.read(source, 3)
            source.close()
        assert kinds(rows) == [("container_exited", "CGROUP_OOM"), ("container_started", None)]
        assert "exit code 137 (restarted 1 times by its engine)" in events(rows)[0][2]
        assert f"process {pid}" in events(rows)[1][2]
        assert containers(rows)

    def test_a_removed_container_is_told_by_its_events(self, machine: Machine, engine: StandinEngine) -> None:
        """`docker run --rm`: nobody knows the container any more, and another takes its place."""
        source = machine.source(engine.path)
        with listening(machine.port) as pid:
            machine.live_in(pid, f"docker/{ID}")
            machine.read(source, 2)
        engine.dies(engine.containers.pop(ID), machine.system_s + 0.1, 137)
        engine.containers[OTHER] = StandinContainer(OTHER, name="comfy2")
        with listening(machine.port) as pid:
            machine.live_in(pid, f"docker/{OTHER}")
            rows = machine.read(source, 3)
            source.close()
        assert kinds(rows) == [("container_exited", None), ("container_started", None)]
        assert containers(rows)[-1].name == "comfy2"

    def test_a_process_started_again_in_its_container_is_no_end(self, machine: Machine, engine: StandinEngine) -> None:
        """A supervisor in the container starts it again: it is followed, and the container neither ended nor began."""
        source = machine.source(engine.path)
        with listening(machine.port) as pid:
            machine.live_in(pid, f"docker/{ID}")
            machine.read(source, 2)
        with listening(machine.port) as pid:
            machine.live_in(pid, f"docker/{ID}")
            rows = machine.read(source, 15)
            source.close()
        assert kinds(rows) == []
        assert len(containers(rows)) >= 10

    def test_a_kill_just_before_the_end_is_seen_in_the_group_that_stays(
        self, machine: Machine, engine: StandinEngine
    ) -> None:
        """The kernel kills the server between two readings, its container goes on: the last look finds the kill."""
        source = machine.source(engine.path)
        with listening(machine.port) as pid:
            group = machine.live_in(pid, f"docker/{ID}")
            machine.read(source, 2)
        write_tree(group, {"memory.events": KILLED})
        rows = machine.read(source, 15)
        source.close()
        assert kinds(rows) == [("container_oom_kill", "CGROUP_OOM")]

    def test_a_pod_without_an_engine_is_told_by_the_group_around_it(self, machine: Machine) -> None:
        """Kubernetes: the container's group went with it, that of its pod has counted the kill."""
        pod = machine.folder / "cg" / "kubepods" / "pod1"
        write_tree(pod, {"memory.events": "max 0\noom 0\noom_kill 0\n"})
        source = machine.source()
        with listening(machine.port) as pid:
            group = machine.live_in(pid, f"kubepods/pod1/{ID}")
            rows = machine.read(source, 2)
        assert kinds(rows) == [("source_missing", None), ("container_found", None)]
        assert containers(rows)[0].missing == "name,image: no container engine has a socket here"
        for file in group.iterdir():
            file.unlink()
        group.rmdir()
        write_tree(pod, {"memory.events": "max 1\noom 1\noom_kill 1\n"})
        ((kind, code, detail),) = events(machine.read(source, 3))
        source.close()
        assert (kind, code) == ("container_exited", "CGROUP_OOM")
        assert "exit code unknown" in detail
        assert "oom_kill of the group around it rose from 0 to 1" in detail

    @pytest.mark.parametrize(("kills", "kinds_told"), [(1, [("container_exited", "CGROUP_OOM")]), (0, [])])
    def test_a_service_that_takes_its_group_along(
        self, machine: Machine, kills: int, kinds_told: list[tuple[str, str]]
    ) -> None:
        """With its last process the group is removed: a kill is told by the group around it, any other end not."""
        around = machine.folder / "cg" / "system.slice"
        write_tree(around, {"memory.events": "max 0\noom 0\noom_kill 0\n"})
        source = machine.source()
        with listening(machine.port) as pid:
            group = machine.live_in(pid, "system.slice/comfy.service")
            machine.read(source, 2)
        for file in group.iterdir():
            file.unlink()
        group.rmdir()
        write_tree(around, {"memory.events": f"max 0\noom 0\noom_kill {kills}\n"})
        rows = machine.read(source, 15)
        source.close()
        assert kinds(rows) == kinds_told
        assert all("the control group of process" in detail for _, _, detail in events(rows))


class TestNotThere:
    """Where there is nothing to tell, nothing is told; where something hides it, the reason, once."""

    def test_no_rows_without_container_and_limits(self, machine: Machine) -> None:
        """An ordinary process of a user, looked at rarely; from then on that somebody sets a limit it has rows."""
        source = machine.source()
        with listening(machine.port) as pid:
            machine.live_in(pid, "user.slice/session-2.scope", memory__max="max\n", cpu__max="max 100000\n")
            assert machine.read(source, 12) == []
            assert source.every_s == 10.0
            machine.live_in(pid, "user.slice/session-2.scope")
            rows = machine.read(source, 11)
            assert containers(rows)[-1].memory_limit_bytes == 8 * GIB
            assert source.every_s == 1.0
        source.close()

    def test_no_rows_for_a_process_in_no_group(self, machine: Machine) -> None:
        """Control groups are not used on this machine, or it has none: nothing is told, and nothing is hidden."""
        source = machine.source()
        with listening(machine.port) as pid:
            write_tree(machine.folder / "proc", {f"{pid}/cgroup": "0::/\n", "self/cgroup": "0::/\n"})
            write_tree(machine.folder / "cg", {"cgroup.controllers": "memory\n"})
            assert machine.read(source, 3) == []
        source.close()

    def test_limits_without_a_container(self, machine: Machine) -> None:
        """A service of systemd with MemoryMax: rows without the name of a container, and no question to an engine."""
        source = machine.source()
        with listening(machine.port) as pid:
            machine.live_in(pid, "system.slice/comfy.service", cpu__max="max 100000\n")
            rows = machine.read(source, 2)
        source.close()
        assert kinds(rows) == [("container_found", None)]
        (row,) = containers(rows)
        assert (row.container, row.name, row.memory_limit_bytes, row.cpu_limit_cores) == (None, None, 8 * GIB, None)
        assert row.missing is None

    def test_a_server_on_another_host_is_left_alone(self, tmp_path: Path) -> None:
        """No row, no event, and the next look is minutes away."""
        machine = Machine(tmp_path)
        source = ContainerSource("http://192.0.2.1:8188", host="h", clock=machine.clock, engine=ContainerEngine([]))
        assert machine.read(source) == []
        assert source.every_s >= 60
        source.close()

    def test_nobody_who_listens_is_told_once(self, machine: Machine, engine: StandinEngine) -> None:
        """Looked for more and more rarely; the reason is told when it goes on."""
        source = machine.source(engine.path)
        rows = machine.read(source, 120)
        source.close()
        ((kind, _, detail),) = events(rows)
        assert kind == "source_missing"
        assert f"nobody listens on port {machine.port}" in detail
        assert engine.asked.count("/containers/json") < 12

    def test_a_group_that_cannot_be_seen_is_told_once(self, machine: Machine, engine: StandinEngine) -> None:
        """We are in another container: the files of its cgroup are not to be had."""
        source = machine.source(engine.path)
        with listening(machine.port) as pid:
            write_tree(machine.folder / "proc", {f"{pid}/cgroup": f"0::/../{ID}\n", "self/cgroup": "0::/\n"})
            rows = machine.read(source, 5)
            source.close()
        assert kinds(rows) == [("source_missing", None)]
        assert "is not visible from here" in events(rows)[0][2]

    def test_an_engine_that_answers_nonsense(self, machine: Machine, engine: StandinEngine) -> None:
        """Wrong types everywhere, lists for objects: no name, no failure."""
        source = machine.source(engine.path)
        engine.containers[ID] = StandinContainer(ID, name=5, image=None, exit_code="x", started=[])  # type: ignore[arg-type]  # nonsense
        with listening(machine.port) as pid:
            machine.live_in(pid, f"docker/{ID}")
            rows = machine.read(source, 2)
        assert (containers(rows)[0].image, kinds(rows)) == (None, [("container_found", None)])
        engine.events.append((machine.system_s + 0.5, {"Action": ["die"], "Actor": {"ID": ID, "Attributes": 7}}))
        engine.dies(engine.containers[ID], machine.system_s + 0.5, -1)
        assert kinds(machine.read(source, 2)) == [("container_exited", None)]
        source.close()

    def test_an_engine_that_may_not_be_asked(self, machine: Machine, tmp_path: Path) -> None:
        """A socket nobody answers at: the reason once, and in each row; limits are told all the same."""
        dead = tmp_path / "dead.sock"
        dead.write_bytes(b"")
        source = machine.source(dead)
        with listening(machine.port) as pid:
            machine.live_in(pid, f"docker/{ID}")
            rows = machine.read(source, 4)
        source.close()
        assert kinds(rows) == [("source_missing", None), ("container_found", None)]
        assert all("name,image: the container engine cannot be asked" in str(row.missing) for row in containers(rows))
        assert containers(rows)[0].memory_limit_bytes == 8 * GIB


class TestFoundByTheEngine:
    """The port of the host is not the server's own."""

    def test_a_published_port_leads_to_the_container(self, machine: Machine, engine: StandinEngine) -> None:
        """Nobody listens on the host's port; the engine says whose it is, and the process is checked to be in it."""
        source = machine.source(engine.path)
        container = engine.containers[ID]
        container.public_port = machine.port
        with listening(free_port()) as pid:
            container.pid = pid
            machine.live_in(pid, f"docker/{ID}")
            rows = machine.read(source, 2)
            source.close()
        assert kinds(rows) == [("container_found", None)]
        assert len(containers(rows)) == 1

    def test_an_id_of_another_namespace_is_not_believed(self, machine: Machine, engine: StandinEngine) -> None:
        """The engine's process id is somebody else's here: nothing is told of that process."""
        source = machine.source(engine.path)
        container = engine.containers[ID]
        container.public_port = machine.port
        with listening(free_port()) as pid:
            container.pid = pid
            machine.live_in(pid, "user.slice")
            rows = machine.read(source, 40)
            source.close()
        assert kinds(rows) == [("source_missing", None)]
        assert "`pid: host`" in events(rows)[0][2]

    def test_an_address_of_a_container(self, machine: Machine, engine: StandinEngine) -> None:
        """A container asked at its own address, which is none of the host's."""
        engine.containers[OTHER] = StandinContainer(OTHER, address=["nonsense"])  # type: ignore[arg-type]  # nonsense
        container = engine.containers.pop(ID)
        engine.containers[ID] = container  # behind the other one
        container.address = "192.0.2.7"
        source = ContainerSource(
            "http://192.0.2.7:8188", host="h", clock=machine.clock, engine=ContainerEngine([str(engine.path)]),
            root=machine.folder / "cg", proc=machine.folder / "proc",
        )  # fmt: skip
        with listening(free_port()) as pid:
            container.pid = pid
            machine.live_in(pid, f"docker/{ID}")
            rows = machine.read(source, 2)
            source.close()
        assert len(containers(rows)) == 1
