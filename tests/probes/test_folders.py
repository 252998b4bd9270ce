"""Sizes of a server's folders: where they are by its command line, how they are reached, and how counting ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfysoak_core.clock import ManualClock
from comfysoak_core.rows import Folder
from comfysoak_probes.server.folder_paths import FolderPaths, paths_of, seen_from
from comfysoak_probes.server.folders import EVERY_S, FolderSource, size_of
from comfysoak_probes.source import Tick
from tests.probes.answering import free_port
from tests.probes.server_processes import listening, write_tree


@pytest.mark.parametrize(
    ("command", "output", "temp"),
    [
        ("python main.py --listen", "/srv/output", "/srv/temp"),
        ("python -s ComfyUI/main.py", "/srv/ComfyUI/output", "/srv/ComfyUI/temp"),
        ("python /opt/ComfyUI/main.py", "/opt/ComfyUI/output", "/opt/ComfyUI/temp"),
        ("python main.py --output-directory /data/out", "/data/out", "/srv/temp"),
        ("python main.py --output-directory=out/../pictures", "/srv/pictures", "/srv/temp"),
        ("python main.py --temp-directory /fast", "/srv/output", "/fast/temp"),
        ("python main.py --base-directory /base", "/base/output", "/base/temp"),
        ("python main.py --base-directory base --temp-directory fast", "/srv/base/output", "/srv/fast/temp"),
        ("python main.py --output-directory a --output-directory b", "/srv/b", "/srv/temp"),
        ("python -m other --output-directory /o --temp-directory /t", "/o", "/t/temp"),
    ],
)
def test_folders_are_those_of_the_command_line(command: str, output: str, temp: str) -> None:
    """Options in both spellings, relative to the working folder; the rest beside main.py or in the base folder."""
    assert paths_of(command.split(), "/srv") == FolderPaths(output, temp)


@pytest.mark.parametrize("command", ["", "comfysoak sim --port 8188", "python main.pyc", "x --output-directory"])
def test_another_command_line_names_no_folders(command: str) -> None:
    """A server that is no ComfyUI, or an option without its value."""
    assert paths_of(command.split(), "/srv") is None


class TestSeenFrom:
    """Paths in a container, followed inside of it."""

    def test_links_lead_within_the_container(self, tmp_path: Path) -> None:
        """An absolute link, a relative one, one that climbs above the root: all end inside."""
        root = tmp_path / "root"
        write_tree(root, {"data/pictures/a.png": "x", "comfy/keep": ""})
        (root / "comfy/output").symlink_to("/data/pictures")
        (root / "comfy/temp").symlink_to("../../../../data")
        assert seen_from(root, "/comfy/output") == root / "data/pictures"
        assert seen_from(root, "/comfy/temp/pictures") == root / "data/pictures"
        assert seen_from(root, "/comfy/../data") == root / "data"

    def test_links_in_a_circle_end(self, tmp_path: Path) -> None:
        """Two links that lead to each other are an error, not a loop."""
        (tmp_path / "a").symlink_to("/b")
        (tmp_path / "b").symlink_to("/a")
        with pytest.raises(OSError, match="links on the way"):
            seen_from(tmp_path, "/a/output")


class TestSize:
    """Counting."""

    def test_files_and_bytes_of_a_tree(self, tmp_path: Path) -> None:
        """All below it; links are neither followed nor counted, even where they lead back up."""
        write_tree(tmp_path / "output", {"a.png": "12345", "2026/b.png": "123", "2026/11/c.png": "1"})
        write_tree(tmp_path / "elsewhere", {"huge": "x" * 1000})
        (tmp_path / "output/out").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "output/up").symlink_to(tmp_path)
        (tmp_path / "output/one").symlink_to(tmp_path / "elsewhere/huge")
        size = size_of(tmp_path / "output", until_s=1e9, now_s=lambda: 0.0, most=1000)
        assert (size.bytes, size.files, size.whole) == (9, 3, True)

    def test_counting_is_cut_short_by_entries_and_by_time(self, tmp_path: Path) -> None:
        """What was counted until then is a lower bound, and says so."""
        write_tree(tmp_path, {f"{number}.png": "1" for number in range(600)})
        few = size_of(tmp_path, until_s=1e9, now_s=lambda: 0.0, most=100)
        assert (few.files, few.whole) == (99, False)
        short = size_of(tmp_path, until_s=0.0, now_s=lambda: 1.0, most=10_000)
        assert (short.files, short.whole) == (255, False)

    def test_folders_that_vanish_are_no_errors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Somebody prunes while we count: what is gone is left out."""
        write_tree(tmp_path, {"a.png": "12", "old/b.png": "345"})
        scandir = os.scandir

        def pruning(folder: str) -> object:
            if folder.endswith("old"):
                raise FileNotFoundError(folder)
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", pruning)
        size = size_of(tmp_path, until_s=1e9, now_s=lambda: 0.0, most=1000)
        assert (size.bytes, size.files, size.whole) == (2, 1, True)


def read(source: FolderSource) -> list[Folder]:
    return source.read(Tick(5, 7))


def test_the_folders_of_a_server_on_this_host(tmp_path: Path) -> None:
    """Found by its port, its command line and its working folder: two rows with size, files and free disk."""
    comfy = tmp_path / "ComfyUI"
    write_tree(comfy, {"output/a.png": "12345", "temp/x/b.png": "123"})
    port = free_port()
    source = FolderSource(f"http://127.0.0.1:{port}", host="h", clock=ManualClock())
    with listening(port, folder=comfy):
        output, temp = read(source)
    assert (output.kind, output.bytes, output.files, output.whole, output.missing) == ("output", 5, 1, True, None)
    assert (temp.kind, temp.bytes, temp.files, temp.whole, temp.late_ns) == ("temp", 3, 1, True, 2)
    assert (output.disk_free_bytes or 0) > 0
    assert source.every_s == EVERY_S
    source.close()


def test_a_folder_that_is_not_there_has_a_reason(tmp_path: Path) -> None:
    """The other one is told all the same; one that comes is told from then on."""
    out = tmp_path / "out"
    write_tree(out, {"a.png": "1"})
    port = free_port()
    source = FolderSource(f"http://127.0.0.1:{port}", host="h", clock=ManualClock())
    with listening(port, folder=tmp_path, arguments=["--output-directory", str(out)]):
        output, temp = read(source)
        assert output.files == 1
        assert (temp.bytes, temp.whole) == (None, None)
        assert temp.missing == (f"bytes,files,whole,disk_free_bytes: {tmp_path / 'temp'}: No such file or directory")
        write_tree(tmp_path, {"temp/t.png": "22"})
        assert read(source)[1].bytes == 2


def test_a_container_is_reached_through_the_root_of_its_process(tmp_path: Path) -> None:
    """Its paths are those within its own files, links included; the host's folder of that name is another."""
    inside = tmp_path / "inside"
    write_tree(inside / "data", {"a.png": "1234567"})
    (inside / "fast/temp").mkdir(parents=True)
    (inside / "output").symlink_to("/data")
    port = free_port()
    with listening(
        port, folder=tmp_path, arguments=["--output-directory", "/output", "--temp-directory", "/fast"]
    ) as pid:
        write_tree(tmp_path, {f"proc/{pid}/cgroup": f"0::/docker/{'4f' * 32}\n"})
        (tmp_path / f"proc/{pid}/root").symlink_to(inside)
        source = FolderSource(f"http://127.0.0.1:{port}", host="h", clock=ManualClock(), proc=tmp_path / "proc")
        output, temp = read(source)
    assert (output.bytes, output.files, output.missing) == (7, 1, None)
    assert (temp.bytes, temp.files, temp.missing) == (0, 0, None)


def test_a_container_that_may_not_be_entered_has_a_reason(tmp_path: Path) -> None:
    """Without the right to its root the host's folders of that name are not taken for its own."""
    port = free_port()
    with listening(port, folder=tmp_path, arguments=["--output-directory", str(tmp_path)]) as pid:
        write_tree(tmp_path, {f"proc/{pid}/cgroup": f"0::/docker/{'4f' * 32}\n"})
        source = FolderSource(f"http://127.0.0.1:{port}", host="h", clock=ManualClock(), proc=tmp_path / "proc")
        rows = read(source)
    assert [row.bytes for row in rows] == [None, None]
    assert all(f"the files of process {pid} cannot be reached" in str(row.missing) for row in rows)
    assert source.every_s == EVERY_S


def test_folders_out_of_reach_are_told_rarely() -> None:
    """A server on another host: the reason in two rows, and the next look is minutes away."""
    source = FolderSource("http://192.0.2.1:8188", host="h", clock=ManualClock())
    rows = read(source)
    assert [(row.kind, row.missing) for row in rows] == [
        (kind, "all: the server runs on another host") for kind in ("output", "temp")
    ]
    assert source.every_s >= 10 * EVERY_S


def test_large_folders_are_counted_more_rarely(tmp_path: Path) -> None:
    """Counting takes less than half a percent of the time, however large they are."""
    write_tree(tmp_path, {"output/a": "", "temp/b": ""})
    port = free_port()
    moments = iter(range(0, 100, 2))  # each look at the clock is two seconds later
    source = FolderSource(f"http://127.0.0.1:{port}", host="h", clock=ManualClock(), now_s=lambda: float(next(moments)))
    with listening(port, folder=tmp_path):
        read(source)
    assert source.every_s == 1920.0  # 6 s are 0.4 % of 1,500; in doublings of a minute


def test_a_server_that_is_away_for_a_while_is_looked_for_again_soon() -> None:
    """A restart must not cost ten minutes of a folder's growth: after 1, 2, 4, 8 and then every 10 minutes."""
    source = FolderSource(f"http://127.0.0.1:{free_port()}", host="h", clock=ManualClock())
    waits = []
    for _ in range(6):
        read(source)
        waits.append(source.every_s)
    assert waits == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
