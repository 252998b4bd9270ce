"""What master and worker say to each other. Each is checked as it comes in: the other side may be anybody.

master                         worker
Greeting (version, nonce)  ->
                           <-  Hello (who I am, what machine I am)
Welcome | Refused          ->
FilePart ..., Prepare      ->      run.json and what lies in inputs/
                           <-  Ready | Cannot
Begin                      ->      starts its load processes
                           <-  Ping, JournalPart, Died ...
Pong, Have                 ->
End                        ->      ends its load, sends the rest
                           <-  Complete
Goodbye                    ->      deletes what was acknowledged
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from comfysoak_core.recording.run_file import HostFacts

PROTOCOL = 1

Text = Annotated[str, Field(max_length=4000)]
Name = Annotated[str, Field(max_length=300)]
Count = Annotated[int, Field(ge=0, le=1 << 62)]


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Greeting(_Word):
    """The first thing said; a worker that has a key answers `nonce` with a proof of it."""

    kind: Literal["greeting"] = "greeting"
    protocol: int = PROTOCOL
    version: Name
    nonce: Name


class Hello(_Word):
    """A worker introduces itself. `machine` stays the same over its connections; `run` is the one it works for."""

    kind: Literal["hello"] = "hello"
    machine: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    version: Name
    processes: Annotated[int, Field(ge=1, le=1024)]
    proof: Name = ""
    run: Name = ""
    facts: HostFacts


class Refused(_Word):
    """The end, before or after it has begun."""

    kind: Literal["refused"] = "refused"
    why: Text
    remedy: Text = ""


class Welcome(_Word):
    """The worker's name in the run; whoever is silent for longer than `silence_s` counts as gone."""

    kind: Literal["welcome"] = "welcome"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{1,80}$")]
    silence_s: Annotated[float, Field(gt=0, le=3600)]


class FilePart(_Word):
    """Bytes (the body) of a file of the run directory, in order; `size` is that of the whole file."""

    kind: Literal["file"] = "file"
    path: Name
    offset: Count
    size: Count


class Prepare(_Word):
    """All files have come. The load is made by so many `processes` on all machines together."""

    kind: Literal["prepare"] = "prepare"
    run: Name
    processes: Annotated[int, Field(ge=1)]


class Ready(_Word):
    """The worker can do its share."""

    kind: Literal["ready"] = "ready"


class Cannot(_Word):
    """It cannot, and why."""

    kind: Literal["cannot"] = "cannot"
    why: Text
    remedy: Text = ""


class Begin(_Word):
    """Start the load processes."""

    kind: Literal["begin"] = "begin"


class Ping(_Word):
    """A sign of life, and a question for the time."""

    kind: Literal["ping"] = "ping"
    number: Count


class Pong(_Word):
    """What the master's clock said when the ping came."""

    kind: Literal["pong"] = "pong"
    number: Count
    at_ns: Count


class JournalPart(_Word):
    """Bytes (the body) of a stretch of journal; `crc` is their CRC-32."""

    kind: Literal["journal"] = "journal"
    name: Name
    offset: Count
    crc: Count


class Have(_Word):
    """So much of a stretch is on the master's disk; `again`: send what follows once more."""

    kind: Literal["have"] = "have"
    name: Name
    had: Count
    again: bool = False


class Died(_Word):
    """A load process ended before its time."""

    kind: Literal["died"] = "died"
    role: Name
    words: Text


class End(_Word):
    """The run is over; load processes end by themselves, or `at_once`."""

    kind: Literal["end"] = "end"
    at_once: bool = False


class Complete(_Word):
    """The load has ended and all of its journal was acknowledged."""

    kind: Literal["complete"] = "complete"


class Goodbye(_Word):
    """Nothing more is expected of the worker."""

    kind: Literal["goodbye"] = "goodbye"


FromMaster = Greeting | Refused | Welcome | FilePart | Prepare | Begin | Pong | Have | End | Goodbye
FromWorker = Hello | Ready | Cannot | Ping | JournalPart | Died | Complete
Word = FromMaster | FromWorker

WORDS: TypeAdapter[Word] = TypeAdapter(Annotated[Word, Field(discriminator="kind")])
