"""Faults that strike in the engine: each does what its description says, when it says."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from comfysoak_core.clock import NS_PER_S
from comfysoak_core.scenario.embedded import Embedded
from comfysoak_simulator.engine import Engine
from comfysoak_simulator.gpu import Gpu
from comfysoak_simulator.schedule import Schedule
from tests.simulator.driving import Driven, diffusion_graph, end_of, picture_graph, steps_graph, took_s


def struck(fault: dict[str, Any], seconds: list[float], seed: int = 0) -> list[bool]:
    """At which of these moments (s since the start) a fault strikes."""
    parsed = Embedded.model_validate({"faults": [{"kind": "node-error", **fault}]}).faults[0]
    schedule = Schedule(parsed, 0, Random(seed))
    return [schedule.take(round(moment * NS_PER_S)) for moment in seconds]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({}, [True] * 6),
        ({"times": 2}, [True, True, False, False, False, False]),
        ({"at": "20s"}, [False, False, True, False, False, False]),
        ({"at": "15s"}, [False, False, True, False, False, False]),
        ({"at": "10s", "for": "15s"}, [False, True, True, False, False, False]),
        ({"every": "20s"}, [False, False, True, False, True, False]),
        ({"at": "10s", "every": "30s"}, [False, True, False, False, True, False]),
        ({"every": "30s", "for": "15s", "times": 1}, [False, False, False, True, False, False]),
        ({"probability": "0%"}, [False] * 6),
        ({"probability": "100%", "at": "40s"}, [False, False, False, False, True, False]),
    ],
)
def test_faults_strike_by_time(fault: dict[str, Any], expected: list[bool]) -> None:
    """`at` once, `every` again and again, `for` at each opportunity of a stretch, `times` at most so often."""
    assert struck(fault, [0, 10, 20, 30, 40, 50]) == expected


def test_chance_is_the_same_with_the_same_seed() -> None:
    """A fault by probability strikes about as often as it says, and the same ones each time."""
    moments = [float(second) for second in range(1000)]
    first, again = struck({"probability": "10%"}, moments), struck({"probability": "10%"}, moments)
    assert first == again
    assert 60 < sum(first) < 140


def test_a_node_fails_and_the_next_prompt_does_not() -> None:
    """One injected error: its type and text on the wire, a note of its code, and everything goes on."""
    fault = {"kind": "node-error", "node": "KSampler", "at": "0s", "type": "ValueError", "message": "no"}
    driven = Driven(faults=[fault])
    entry = driven.ran(diffusion_graph(1))
    assert (end_of(entry)["exception_type"], end_of(entry)["node_type"]) == ("ValueError", "KSampler")
    assert driven.noted == ["NODE_ERROR"]
    assert end_of(driven.ran(diffusion_graph(2)))["event"] == "execution_success"


def test_an_injected_shortage_is_like_a_real_one() -> None:
    """Out of memory at a node; what it keeps is gone until the process ends."""
    driven = Driven(faults=[{"kind": "oom", "at": "0s", "keeps": "1 GiB"}])
    entry = driven.ran(diffusion_graph(1))
    assert end_of(entry)["exception_type"] == "torch.OutOfMemoryError"
    assert driven.machine.gpu is not None
    assert driven.machine.gpu.torch_bytes == 1024**3
    driven.machine.gpu.end_of_process()
    assert driven.machine.gpu.torch_bytes == 0


def test_a_hanging_node_takes_no_interrupt() -> None:
    """A node that hangs for ever stays the running one, whatever is asked."""
    driven = Driven(faults=[{"kind": "hang", "node": "HarnessSteps"}])
    prompt_id = driven.submit(steps_graph(2, 0.1))
    driven.run(60)
    driven.engine.interrupt()
    driven.run(3600)
    assert driven.engine.queue.running is not None
    assert driven.engine.queue.running.prompt_id == prompt_id
    assert driven.engine.queue.history == {}


def test_a_node_may_hang_for_a_while() -> None:
    """With `for` a hanging node goes on after that time."""
    driven = Driven(faults=[{"kind": "hang", "node": "HarnessSteps", "for": "30s"}])
    assert took_s(driven.ran(steps_graph(2, 0.1))) == pytest.approx(30.2)


def test_a_misfire_interrupts_what_nobody_meant() -> None:
    """The prompt ends as interrupted, and there was no request for it."""
    driven = Driven(faults=[{"kind": "misfire"}])
    assert end_of(driven.ran(picture_graph()))["event"] == "execution_interrupted"
    assert driven.noted == ["INTERRUPT_MISFIRE"]


def test_a_pending_prompt_vanishes_without_a_word() -> None:
    """It is in neither queue nor history afterwards; the others run."""
    driven = Driven(faults=[{"kind": "vanish", "times": 1}])
    ids = [driven.submit(steps_graph(1, 0.1, str(number))) for number in range(3)]
    driven.run()
    assert list(driven.engine.queue.history) == [ids[0], ids[2]]


def test_a_misrouted_prompt_is_known_nowhere() -> None:
    """Accepted with 200, then in neither queue nor history."""
    driven = Driven(faults=[{"kind": "misroute"}])
    driven.submit(picture_graph())
    driven.run()
    assert driven.engine.queue.remaining == 0
    assert driven.engine.queue.history == {}


def test_a_dead_worker_leaves_the_queue_growing() -> None:
    """After execution_start nothing runs any more; prompts are still accepted."""
    driven = Driven(faults=[{"kind": "worker-dead", "at": "5s"}])
    driven.ran(picture_graph(1))
    driven.clock.advance(10)
    driven.submit(picture_graph(2))
    driven.submit(picture_graph(3))
    driven.run(3600)
    assert driven.engine.queue.remaining == 2
    assert len(driven.engine.queue.history) == 1


def test_leaks_and_strangers_take_memory() -> None:
    """A leak grows with every prompt; another process holds its share for as long as it says."""
    faults = [
        {"kind": "leak", "size": "100 MiB"},
        {"kind": "foreign-memory", "at": "60s", "for": "60s", "size": "4 GiB"},
    ]
    driven = Driven(faults=faults)
    gpu = driven.machine.gpu
    assert gpu is not None
    for colour in range(3):
        driven.ran(picture_graph(colour))
    assert gpu.leaked_bytes == 300 * 1024**2
    before = gpu.used_bytes
    driven.run(70)
    during = gpu.used_bytes
    driven.run(60)
    assert (during - before, gpu.used_bytes) == (4 * 1024**3, before)


def test_a_throttled_gpu_is_slower_and_shows_lower_clocks() -> None:
    """Work takes the factor longer while the clocks are down, and no longer after."""
    driven = Driven(faults=[{"kind": "throttle", "at": "100s", "for": "100s", "factor": 2}])
    gpu = driven.machine.gpu
    assert gpu is not None
    driven.ran(diffusion_graph(0))  # loads the models
    times, clocks, throttled = [], [], []
    for seed, pause in ((1, 100), (2, 100), (3, 0)):
        times.append(took_s(driven.ran(diffusion_graph(seed))))
        reading = gpu.read(driven.clock.now_ns())
        clocks.append(reading.sm_mhz)
        throttled.append(reading.throttled)
        driven.run(pause)
    assert times == [times[0], pytest.approx(2 * times[0], rel=0.01), pytest.approx(times[0], rel=0.01)]
    assert clocks == [clocks[0], clocks[0] // 2, clocks[0]]
    assert throttled == [False, True, False]
    assert gpu.read(driven.clock.now_ns()).throttled_ns == pytest.approx(100e9, rel=0.02)


def test_slow_nodes_get_slower_with_the_hours() -> None:
    """`growth` adds its share each hour since the start."""
    driven = Driven(faults=[{"kind": "slow", "node": "HarnessSteps", "factor": 2, "growth": "50%"}])
    first = took_s(driven.ran(steps_graph(1, 1.0, "a")))
    driven.run(3600)
    second = took_s(driven.ran(steps_graph(1, 1.0, "b")))
    assert [first, second] == pytest.approx([2.0, 3.0], abs=0.01)
    assert driven.noted == ["LATENCY_DRIFT"]


@pytest.mark.parametrize("kind", ["cuda-poisoned", "gpu-lost"])
def test_a_broken_gpu_fails_every_prompt_until_the_process_is_new(kind: str) -> None:
    """One illegal access, or a GPU off the bus: all that follows fails; a new process works."""
    driven = Driven(faults=[{"kind": kind, "at": "0s"}])
    for seed in range(3):
        assert "CUDA error" in end_of(driven.ran(diffusion_graph(seed)))["exception_message"]
    assert driven.machine.gpu is not None
    driven.machine.gpu.recover()
    driven.engine = Engine(driven.machine, driven.messages.append)
    assert end_of(driven.ran(diffusion_graph(9)))["event"] == "execution_success"


def test_late_history_comes_before_the_last_message() -> None:
    """Between execution_success and history there is the delay; executing null comes after both."""
    driven = Driven(faults=[{"kind": "late-history", "delay": "1s"}])
    prompt_id = driven.submit(picture_graph())
    driven.run(0.5)
    assert driven.sent("execution_success")
    assert driven.engine.queue.history_of(prompt_id) == {}
    driven.run(1)
    assert prompt_id in driven.engine.queue.history
    assert driven.sent("executing")[-1] == {"node": None, "prompt_id": prompt_id}


def test_faults_of_other_servers_are_not_ours() -> None:
    """A fault that names a server strikes that one only."""
    driven = Driven(servers=2, faults=[{"kind": "node-error", "server": 1}])
    assert end_of(driven.ran(picture_graph()))["event"] == "execution_success"


def test_faults_of_sockets_are_handed_to_the_edge_at_their_time() -> None:
    """They strike by the clock, without any prompt."""
    driven = Driven(faults=[{"kind": "drop-sockets", "at": "20s"}, {"kind": "restart", "every": "60s"}])
    driven.run(130)
    assert [fault.CODE for fault in driven.suffered] == ["WS_ABNORMAL", "SERVER_RESTARTED", "SERVER_RESTARTED"]


def test_a_moment_that_chance_was_against_is_over() -> None:
    """`every` with a probability: one throw a moment, and nothing due before the next one."""
    driven = Driven(faults=[{"kind": "drop-sockets", "every": "10s", "probability": "20%"}])
    driven.run(1000)
    assert 5 < len(driven.suffered) < 40  # 100 throws
    due_ns = driven.engine.advance()
    assert due_ns is not None
    assert due_ns > driven.clock.now_ns()


@pytest.mark.parametrize(
    ("fault", "undone"),
    [
        ({"kind": "throttle", "at": "1s", "for": "10s"}, lambda gpu: gpu.slowdown == 1.0),
        ({"kind": "foreign-memory", "at": "1s", "for": "10s"}, lambda gpu: gpu.foreign_bytes == 0),
    ],
)
def test_what_befalls_the_gpu_ends_in_time_also_when_the_server_is_started_again(
    fault: dict[str, Any], undone: Callable[[Gpu], bool]
) -> None:
    """The new process finds the GPU as it was left, and the fault ends when it was to end."""
    driven = Driven(faults=[fault])
    driven.run(5)
    gpu = driven.machine.gpu
    assert gpu is not None
    assert not undone(gpu)
    driven.machine.end_of_process()
    driven.engine = Engine(driven.machine, driven.messages.append, driven.suffered.append)
    driven.run(10)
    assert undone(gpu)
