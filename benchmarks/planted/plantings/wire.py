"""Plantings of what goes wrong on the wire."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from benchmarks.planted.plantings.planting import Planting
from benchmarks.planted.world import Blocked, Cut, Fate, Told, World
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.mistakes import KINDS
from comfysoak_core.scenario.workload import GiveUp, Mistakes, Upload

_ZOMBIE: Final = "told nothing while other sockets of this server were, and pings are answered"
_PROBE: Final = "told nothing, as all sockets of this server: closed to see whether a new one is"
_EOF: Final = "connection ended without a close frame"
_LOST: Final = "the last messages of prompts fell into the time in which the socket was told nothing"


def _few(world: World, most: int = 2) -> list[float]:
    return sorted(world.moment(0.1, 0.9) for _ in range(world.whole(1, most)))


def _zombie(world: World) -> None:
    at, who = world.moment(), world.whole(0, 30)
    world.script.cuts.append(Cut(who, at, 1000, "client", "WS_ZOMBIE", _ZOMBIE))
    world.script.told.append(Told(at - 0.02, "load-0", "zombie", 0, "planted/1", "WS_ZOMBIE", _ZOMBIE))


def _head_of_line(world: World) -> None:
    at, lasts, server = world.moment(), world.between(12, 18), world.any_server()
    script = world.script
    script.silent.append((server, at, at + lasts))
    detail = f"{world.watchers + 2} sockets were told nothing while prompts were taken, a new one among them"
    script.cuts.append(Cut(0, at + 6, 1000, "client", None, _PROBE))
    script.told.append(Told(at + 6, "load-0", "silent", server, "planted/1", None, _PROBE))
    script.told.append(Told(at, "load-0", "head_of_line", server, None, "WS_HEAD_OF_LINE", detail))
    over = f"nobody was told anything for {lasts:.1f} s"
    script.told.append(Told(at + lasts, "load-0", "head_of_line_over", server, None, None, over))


def _idle_cut(world: World) -> None:
    """Each socket is cut when it has reached an age, and so are its successors; they began at different times."""
    age = world.between(60, 130)
    count, at = world.whole(6, 9), world.measured_s
    for number in range(count):
        first = at + world.between(0, 0.5) * (world.duration_s - at)  # until here a new socket now and then, as of tabs
        who = 100 + number
        world.script.cuts.append(Cut(who, first, 1000, "client", None, "reconnected, close-first"))
        ends = first + 0.3 + age * world.between(0.99, 1.01)
        world.script.cuts.append(Cut(who, ends, 1006, "network", "WS_ABNORMAL", _EOF))


def _too_big(world: World) -> None:
    for at in _few(world):
        reason = "frame exceeds limit of 1048576 bytes"
        world.script.cuts.append(Cut(world.whole(0, 30), at, 1009, "client", "WS_TOO_BIG", reason))


def _abnormal(world: World) -> None:
    for at in _few(world):
        world.script.cuts.append(Cut(world.whole(0, 30), at, 1006, "network", "WS_ABNORMAL", _EOF))


def _lost_terminal(world: World) -> None:
    for at in _few(world):
        late = world.between(1, 3)
        world.script.fates.append(Fate(at, "end", "success", "LOST_TERMINAL", late_s=late, from_history=True))


def _history_race(world: World) -> None:
    world.script.fates += [Fate(at, "end", "success", "HISTORY_RACE", late_s=0.7) for at in _few(world)]


def _loop_blocked(world: World) -> None:
    at, server, answer = world.moment(), world.any_server(), world.between(1.1, 1.5)
    lasts = world.whole(3, 5) * 2.0
    world.script.blocked.append(Blocked(server, at, at + lasts, answer))
    detail = f"{int(lasts / 2)} readings skipped; the longest one took {answer * 1000:.0f} ms"
    subject = f"server {world.machines[server].url}"
    world.script.told.append(Told(at + lasts + 1, "sampler", "source_late", None, subject, None, detail))


def _misrouted(world: World) -> None:
    several = "a prompt's history is there and then not: several servers answer at this address"
    for at in _few(world):
        world.script.fates.append(Fate(at, "deleted", "vanished", "LB_MISROUTED"))
        world.script.told.append(Told(at + 2, "load-0", "several_servers", 0, None, None, several))


def _rejected(world: World) -> None:
    message = "Value 0.0 smaller than min of 1.0"
    world.script.fates += [
        Fate(at, "refused", "rejected", "VALIDATION_REJECTED", error_type="value_smaller_than_min", message=message,
             http_status=400)
        for at in _few(world)
    ]  # fmt: skip


def _mistake_accepted(world: World) -> None:
    kind = KINDS[world.whole(0, 3)]
    message = f"the prompt with the mistake {kind!r} was accepted, and ended as success"
    world.more["workload"] = {"mistakes": Mistakes(share=0.02, kinds=(kind,))}
    world.script.fates += [
        Fate(at, "end", "success", "MISTAKE_ACCEPTED", message=message, expected="rejected", deliberate=kind)
        for at in _few(world)
    ]


def _dropped(world: World) -> None:
    message = "node 12: required_input_missing: Required input is missing"
    world.script.fates += [Fate(at, "end", "failed", "OUTPUT_DROPPED", message=message) for at in _few(world)]


def _submit_error(world: World) -> None:
    status = 413 if world.random.random() < 0.3 else 500
    message = f"{status} Server got itself in trouble"
    world.script.fates += [
        Fate(at, "refused", "failed", "SUBMIT_ERROR", error_type=f"http {status}", message=message, http_status=status)
        for at in _few(world)
    ]


def _upload_error(world: World) -> None:
    world.more["workload"] = {"uploads": (Upload(input="1.image", each="prompt"),)}
    message = "HTTP 413: Maximum request body size 104857600 exceeded"
    world.script.fates += [
        Fate(at, "unsent", "failed", "UPLOAD_ERROR", error_type="http 413", message=message) for at in _few(world)
    ]


def _bad_message(world: World) -> None:
    message = "`data` of executing is no object"
    for at in _few(world):
        world.script.fates.append(Fate(at, "end", "success", "BAD_MESSAGE", message=message))
        detail = f'{message}: {{"type": "executing", "data": []}}'
        world.script.told.append(Told(at + 1, "load-0", "bad_message", 0, "planted/1", "BAD_MESSAGE", detail))


def _output_missing(world: World) -> None:
    problem = "soak_00042_.png: HTTP 404"
    world.script.fates += [Fate(at, "end", "failed", "OUTPUT_MISSING", problem=problem) for at in _few(world)]


def _output_wrong(world: World) -> None:
    problems = ("all of one colour", "512x512 instead of 1024x1024", "not decodable: OSError", "empty file")
    problem = f"soak_00042_.png: {problems[world.whole(0, 3)]}"
    world.script.fates += [Fate(at, "end", "failed", "OUTPUT_WRONG", problem=problem) for at in _few(world)]


def _output_corrupt(world: World) -> None:
    world.canary_every_s = world.between(60, 180)
    problem = "canary_00007_.png: 64 of 65536 pixels differ from the baseline, the most by 97 of 255"
    world.script.canary_wrong.append((world.moment(), "OUTPUT_CORRUPT", "failed", problem))


def _deadline(world: World) -> None:
    """One prompt samples on for 1.1 to 1.4 times its deadline, with progress all the time."""
    flow = replace(world.workflows[0], deadline_s=90.0)
    world.workflows = (flow, *world.workflows[1:])
    wanted = world.between(1.1, 1.4) * flow.deadline_s
    factor = wanted / (flow.steps * flow.step_s)
    world.script.fates.append(Fate(world.moment(0.2, 0.6), "slow", "success", None, workflow=flow.name, factor=factor))


def _gave_up(world: World) -> None:
    world.more["workload"] = {"give_up": GiveUp(after_s=(20.0, 60.0))}
    world.script.fates += [Fate(at, "left", "given_up", "GAVE_UP", late_s=0.4) for at in _few(world)]


def _gateway_empty(world: World) -> None:
    _through_gateway(world)
    message = "0 pictures instead of 1"
    world.script.fates += [
        Fate(at, "end", "failed", "GATEWAY_EMPTY", message=message, http_status=200) for at in _few(world)
    ]


def _gateway_hang(world: World) -> None:
    _through_gateway(world)
    message = "no answer within 300 s; gateway and ComfyUI may work on it still"
    world.script.fates += [
        Fate(at, "end", "timeout", "GATEWAY_HANG", message=message, late_s=world.workflows[0].deadline_s)
        for at in _few(world)
    ]


def _through_gateway(world: World) -> None:
    world.gateway, world.has_log, world.watchers = "http://platform:8080", False, 0


WIRE: Final = (
    Planting(Code.WS_ZOMBIE, "1 socket told nothing for 5 s or more, replaced", _zombie,
             brings={Code.LOST_TERMINAL: _LOST}),
    Planting(Code.WS_HEAD_OF_LINE, "nobody told anything for 12 to 18 s (load notices within 12)", _head_of_line,
             brings={Code.LOST_TERMINAL: _LOST}),
    Planting(Code.WS_IDLE_CUT, "6 to 9 sockets end by 1006 at one age of 60 to 130 s, within 1 %", _idle_cut,
             {"watchers": 12},
             {Code.WS_ABNORMAL: "each of these sockets ended without a close frame, and its row says so",
              Code.LOST_TERMINAL: _LOST}),
    Planting(Code.WS_TOO_BIG, "1 or 2 sockets closed with 1009", _too_big, brings={Code.LOST_TERMINAL: _LOST}),
    Planting(Code.WS_ABNORMAL, "1 or 2 sockets end without a close frame", _abnormal,
             brings={Code.LOST_TERMINAL: _LOST}),
    Planting(Code.LOST_TERMINAL, "1 or 2 prompts whose end only history told", _lost_terminal),
    Planting(Code.HISTORY_RACE, "1 or 2 prompts whose history was empty once", _history_race),
    Planting(Code.LOOP_BLOCKED, "canary answers after 1.1 to 1.5 s (rule: 1), 3 to 5 readings in a row", _loop_blocked),
    Planting(Code.LB_MISROUTED, "1 or 2 prompts in neither queue nor history over 2 polls", _misrouted),
    Planting(Code.VALIDATION_REJECTED, "1 or 2 prompts refused with 400", _rejected),
    Planting(Code.MISTAKE_ACCEPTED, "1 or 2 prompts with a mistake accepted", _mistake_accepted),
    Planting(Code.OUTPUT_DROPPED, "1 or 2 prompts accepted with node_errors", _dropped),
    Planting(Code.SUBMIT_ERROR, "1 or 2 submissions answered with 500 or 413", _submit_error),
    Planting(Code.UPLOAD_ERROR, "1 or 2 pictures not uploaded", _upload_error),
    Planting(Code.BAD_MESSAGE, "1 or 2 broken messages", _bad_message),
    Planting(Code.OUTPUT_MISSING, "1 or 2 files not there (404)", _output_missing),
    Planting(Code.OUTPUT_WRONG, "1 or 2 files that are not what was asked for", _output_wrong),
    Planting(Code.OUTPUT_CORRUPT, "1 canary picture with 64 pixels off", _output_corrupt),
    Planting(Code.DEADLINE, "1 prompt that takes 1.1 to 1.4 times its deadline (rule: 1)", _deadline,
             {"measured_s": 2400.0, "has_log": True},
             {Code.GAVE_UP: "who waits behind it waits as long", Code.LATENCY_DRIFT: "latency does rise for a while"}),
    Planting(Code.GAVE_UP, "1 or 2 users who left", _gave_up),
    Planting(Code.GATEWAY_EMPTY, "1 or 2 answers without a picture", _gateway_empty, alone=True),
    Planting(Code.GATEWAY_HANG, "1 or 2 requests without an answer by their deadline", _gateway_hang, alone=True),
)  # fmt: skip
