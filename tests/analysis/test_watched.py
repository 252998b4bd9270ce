"""Reports on what was only watched: what counts, what does not, and hostile words."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfysoak_analysis import open_run, watched
from comfysoak_analysis.report import build
from comfysoak_analysis.summary import summary
from comfysoak_analysis.verdict import Weight
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.recording.run_file import EndReason
from comfysoak_core.rows import Container, Event, Gpu, GpuSlow, Host, Process, Row, Server, ServerLog
from tests.analysis.planted import GIB, SERVER, START_NS
from tests.analysis.watched_rows import recorded

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>|[x](http://evil.example)"


def rows(name: str, count: int = 3) -> list[Row]:
    """A GPU, a host, a process, a container, a server, its log and an event, all called `name`."""
    found: list[Row] = []
    for second in range(count):
        at_ns = START_NS + (second + 1) * NS_PER_S
        found += [
            Gpu(at_ns=at_ns, read_cost_ns=1, host=name, source="nvml", uuid=name, memory_used_bytes=GIB,
                memory_total_bytes=8 * GIB, utilisation_ratio=0.5),
            GpuSlow(at_ns=at_ns, read_cost_ns=1, host=name, source="nvml", uuid=name, name=name, event_reasons=name),
            Host(at_ns=at_ns, read_cost_ns=1, host=name, cpu_ratio=0.5, memory_total_bytes=8 * GIB,
                 memory_available_bytes=6 * GIB),
            Process(at_ns=at_ns, read_cost_ns=1, host=name, pid=7, role="server", server=SERVER, name=name,
                    rss_bytes=GIB, cpu_ratio=0.5),
            Process(at_ns=at_ns, read_cost_ns=1, host=name, pid=8, role="sampler", rss_bytes=9 * GIB),
            Container(at_ns=at_ns, read_cost_ns=1, host=name, server=SERVER, container=name, name=name,
                      memory_used_bytes=GIB, cpu_throttled_s=float(second), oom_kills=0),
            Server(at_ns=at_ns, server=SERVER, queue_running=1, queue_pending=2, queue_answer_ns=NS_PER_S),
            Event(at_ns=at_ns, source="sampler", kind=name, subject=name, detail=name),
            ServerLog(at_ns=at_ns, server=SERVER, source="socket", kind="model_requested", model=name, text=name),
        ]  # fmt: skip
    return found


def test_the_words_count_what_was_watched(directory: Path) -> None:
    """In the verdict, in the summary and in the figures; the sampler's own process is none of the servers'."""
    verdict = build(recorded(directory, *rows("gpu-1")))
    assert verdict.sentence == "Watched for 60 s: 1 GPU, 1 host, 1 server, 1 container; no findings."
    run = open_run(directory)
    assert [(one.name, one.pid, one.memory_most_bytes) for one in watched.processes(run)] == [("gpu-1", 7, GIB)]
    assert [(one.cpu_mean, one.memory_most_bytes) for one in watched.hosts(run)] == [(0.5, 2 * GIB)]
    assert [one.throttled_s for one in watched.containers(run)] == [2.0]
    assert "| gpu\\-1 |" in summary(run, verdict) or "| gpu-1 |" in summary(run, verdict)


@pytest.mark.parametrize("reason", [EndReason.FINISHED, EndReason.INTERRUPTED, EndReason.TERMINATED])
def test_ending_it_by_hand_is_no_doubt(directory: Path, reason: EndReason) -> None:
    """Ctrl-C is how people end it."""
    assert build(recorded(directory, *rows("gpu-1", 60), ended=reason)).doubts == ()


def test_a_recording_that_was_cut_off_is_told_and_valid(directory: Path) -> None:
    """What was seen until then was seen."""
    verdict = build(recorded(directory, *rows("gpu-1", 60), ended=None))
    assert [(doubt.name, doubt.weight) for doubt in verdict.doubts] == [("cut off", Weight.CAUTION)]
    assert (verdict.exit_code, verdict.valid) == (0, True)


def test_names_of_hosts_processes_and_containers_stay_text(directory: Path) -> None:
    """In the page, in the data of its charts, and in the summary."""
    verdict = build(recorded(directory, *rows(EVIL)))
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert "<script>document" not in page
    assert "<img src=x" not in page
    assert "](http" not in summary(open_run(directory), verdict)


def test_too_many_events_are_counted(directory: Path) -> None:
    """The first ones are shown, and that there are more is said."""
    at_ns = START_NS + NS_PER_S
    events = [Event(at_ns=at_ns + index, source="sampler", kind="xid", subject="GPU-a") for index in range(300)]
    run = open_run(recorded(directory, *events))
    assert len(watched.happened(run)) == 200
    assert watched.events_words(run) == "Of 300 events the first 200 are shown."


def test_lost_lines_of_a_log_are_told(directory: Path) -> None:
    """Model loads of what was watched are known no better than its log."""
    lost = Event(at_ns=START_NS + NS_PER_S, source="sampler", kind="log_gap", server=SERVER, subject="log")
    build(recorded(directory, *rows("gpu-1"), lost))
    assert "lines of its log were lost once" in (directory / "report.html").read_text(encoding="utf-8")
