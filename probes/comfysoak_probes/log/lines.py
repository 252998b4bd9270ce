"""Lines of a ComfyUI server's log that say something: models, prompts, errors. Pure; both wordings.

No line names a prompt (but those about an interrupt), and a line about a load that ended does not name the model: both
are matched by order, by whoever reads the recording.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite

TEXT_CHARACTERS = 400
LINE_CHARACTERS = 20_000
MIB = 1024 * 1024


class LogKind(StrEnum):
    """What a line of the server says; the values of the column `kind`."""

    PROMPT_GOT = "prompt_got"
    PROMPT_EXECUTED = "prompt_executed"  # also after errors and interrupts
    MODEL_READ = "model_read"  # a loader node has read a file; the kind of model, which is all it says, is in `model`
    MODEL_REQUESTED = "model_requested"  # it is not on the device and will be loaded now
    MODEL_LOADED = "model_loaded"  # the text says `completely` or `partially`
    MODEL_STAGED = "model_staged"  # prepared for dynamic VRAM: at every use, and not a load
    MODEL_UNLOADED = "model_unloaded"
    MODEL_UNLOADED_PARTLY = "model_unloaded_partly"
    CACHE_EMPTIED = "cache_emptied"  # at the start, and after POST /free with `free_memory`: all models went, too
    VAE_TILED = "vae_tiled"  # it ran out of memory and did the same in tiles: slower, and no error
    SETTING = "setting"  # said once at the start: how this server loads models, and with which attention
    OOM = "oom"
    EXCEPTION = "exception"
    INTERRUPT_ASKED = "interrupt_asked"
    INTERRUPTED = "interrupted"
    PROMPT_INVALID = "prompt_invalid"
    SEND_ERROR = "send_error"
    WORKER_DIED = "worker_died"
    MEMORY_LEAK = "memory_leak"
    READY = "ready"
    DYNAMIC_VRAM = "dynamic_vram"  # memory figures mean something else from here on
    ERROR = "error"  # any other line the server itself marks as an error


@dataclass(frozen=True, slots=True)
class LogLine:
    """What a line says: colour codes and level prefix taken off, the text cut to `TEXT_CHARACTERS`."""

    kind: LogKind
    text: str
    model: str | None = None
    loaded_bytes: int | None = None
    duration_s: float | None = None


# Colours and cursor (CSI), titles (OSC, at most a short one), character sets and other short ones.
_ANSI = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,40}[ -/]{0,4}[@-~]|\x1b\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|\x1b(?:[ -/]{1,2}[0-~]|[78=>])"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# `[INFO] ` of 0.33 on a terminal; `[2026-11-22 15:00:00,123] [INFO] ` in its own log file.
_PREFIX = re.compile(r"^(?:\[[0-9][0-9 :,.T+-]*\] ?)?\[(DEBUG|DETAIL|INFO|WARNING|ERROR|CRITICAL)\] ?")
# A state of a progress bar (tqdm), where a logger wrote its line before the bar went on.
_BAR = re.compile(r"[^|\n]{0,60}?[0-9]{1,3}%\|[^|]{0,300}\| {0,9}[0-9]{1,9}/[0-9]{1,9} \[[^\]]{0,60}\] *")
_DETAILS = ("Traceback", "* ", "- ", "Output will be ignored")  # lines that belong to the one before
_NUMBER = r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)"
_SETTINGS = (
    r"Set vram state to: |Total VRAM [0-9]+ MB|Device: |Using [\w ]{1,60} attention\b"
    r"|Using sub quadratic optimization for attention"
    r"|Using async weight offloading|Enabled pinned memory|Disabling smart memory management"
    r"|Unsupported Pytorch detected\. DynamicVRAM|No working comfy-aimdo install"
)
DIFFUSION_MODEL, VAE, TEXT_ENCODER = "diffusion model", "VAE", "text encoder"
_Make = Callable[["re.Match[str]", str], LogLine | None]


def _plain(kind: LogKind) -> _Make:
    return lambda _, text: LogLine(kind, text)


def _model(kind: LogKind) -> _Make:
    return lambda match, text: LogLine(kind, text, model=match[1][:100])


def _read(what: str) -> _Make:
    return lambda _, text: LogLine(LogKind.MODEL_READ, text, model=what)


def _loaded(match: re.Match[str], text: str) -> LogLine:
    return LogLine(LogKind.MODEL_LOADED, text, loaded_bytes=_bytes(match[1]))


def _older_loaded(match: re.Match[str], text: str) -> LogLine:
    """`loaded completely BUDGET LOADED True`, `loaded partially BUDGET LOADED PATCHES`, in MiB."""
    return LogLine(LogKind.MODEL_LOADED, text, loaded_bytes=_bytes(match[2]))


def _unloaded(match: re.Match[str], text: str) -> LogLine | None:
    """`0 models unloaded.` is normal with dynamic VRAM, and says nothing."""
    return LogLine(LogKind.MODEL_UNLOADED, text) if int(match[1]) else None


def _executed(match: re.Match[str], text: str) -> LogLine:
    hours, minutes, seconds, plain = match.groups()
    duration_s = float(plain) if plain else int(hours) * 3600.0 + int(minutes) * 60 + int(seconds)
    return LogLine(LogKind.PROMPT_EXECUTED, text, duration_s=duration_s if isfinite(duration_s) else None)


def _bytes(mib: str) -> int | None:
    size = float(mib) * MIB
    return round(size) if size < 2**63 else None


# To the end of the line where the wording is known to its end: a node may print a prompt that begins like one of these.
_RULES: tuple[tuple[re.Pattern[str], _Make], ...] = tuple(
    (re.compile(pattern), make)
    for pattern, make in (
        (r"got prompt$", _plain(LogKind.PROMPT_GOT)),
        (rf"Prompt executed in (?:([0-9]{{2,6}}):([0-9]{{2}}):([0-9]{{2}})|{_NUMBER} seconds)$", _executed),
        (r"Requested to load (\S+)$", _model(LogKind.MODEL_REQUESTED)),
        (rf"loaded (?:completely|partially);.*? {_NUMBER} MB loaded\b", _loaded),  # newer
        (rf"loaded (?:completely|partially):? {_NUMBER} {_NUMBER} ", _older_loaded),
        (r"Model (\S+) prepared for dynamic VRAM loading\.", _model(LogKind.MODEL_STAGED)),
        (r"model weight dtype \S+, manual cast: ", _read(DIFFUSION_MODEL)),
        (r"VAE load device: \S+, offload device: ", _read(VAE)),
        (r"CLIP/text encoder model load device: \S+, offload device: ", _read(TEXT_ENCODER)),
        (r"([0-9]{1,6}) models unloaded\.?$", _unloaded),
        (r"Unloaded partially: [0-9]", _plain(LogKind.MODEL_UNLOADED_PARTLY)),
        (r"Using (?:RAM pressure cache|LRU cache)|Disabling intermediate node cache", _plain(LogKind.CACHE_EMPTIED)),
        (r"Warning: Ran out of memory when regular VAE (?:en|de)coding", _plain(LogKind.VAE_TILED)),
        (_SETTINGS, _plain(LogKind.SETTING)),
        (r"Got an OOM\b", _plain(LogKind.OOM)),
        (r"!!! Exception during processing", _plain(LogKind.EXCEPTION)),
        (r"Exception in thread .*prompt_worker", _plain(LogKind.WORKER_DIED)),
        (r"Global interrupt\b|Interrupting prompt ", _plain(LogKind.INTERRUPT_ASKED)),
        (r"Processing interrupted$", _plain(LogKind.INTERRUPTED)),
        (r"invalid prompt: |Failed to validate prompt", _plain(LogKind.PROMPT_INVALID)),
        (r"send error: ", _plain(LogKind.SEND_ERROR)),
        (r"WARNING, memory leak with model (\S+?)\.?(?:\s|$)", _model(LogKind.MEMORY_LEAK)),
        (r"To see the GUI go to: https?://", _plain(LogKind.READY)),
        (r"DynamicVRAM support detected and enabled", _plain(LogKind.DYNAMIC_VRAM)),
    )
)


def parse_line(line: str) -> LogLine | None:
    """What one line says; None for a line not worth keeping. Takes any text, of any length."""
    text = strip(line)
    prefix = _PREFIX.match(text)
    level = prefix[1] if prefix else ""
    text = text[prefix.end() :].strip() if prefix else text.strip()
    kept = text if len(text) <= TEXT_CHARACTERS else text[: TEXT_CHARACTERS - 3] + "..."
    for pattern, make in _RULES:
        match = pattern.match(text)
        if match is not None:
            return make(match, kept)
    if level in {"ERROR", "CRITICAL"} and text and not text.startswith(_DETAILS):
        return LogLine(LogKind.ERROR, kept)
    return None


def strip(line: str) -> str:
    """The line as it looks on a terminal: no colours, and no progress bar before it."""
    text = _ANSI.sub("", line[:LINE_CHARACTERS])
    last = _CONTROL.sub("", text.rstrip("\r\n").rpartition("\r")[2])
    bar = _BAR.match(last)
    return last[bar.end() :] if bar else last


class Lines:
    """Puts lines together from pieces: what is printed comes in several writes, and a progress bar has no end."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> Iterator[str]:
        """The lines that `piece` ends."""
        *lines, self._rest = (self._rest + piece).split("\n")
        if len(self._rest) > LINE_CHARACTERS:
            self._rest = self._rest[-LINE_CHARACTERS:]
        yield from lines

    @property
    def in_bar(self) -> bool:
        """Whether what waits for its end is a progress bar, overwritten in place."""
        return "\r" in self._rest

    def reset(self) -> None:
        """Something was lost: forget the piece that waits for its end."""
        self._rest = ""
