"""Did the messages of one prompt come as a ComfyUI sends them? Both versions; pure.

Fresh: execution_start, execution_cached, per node progress_state (running), executing, progress, executed,
progress_state (finished); then execution_success, `status`, executing null. Coroutine nodes overlap, 0.33 leaves most
progress out, and servers before progress_state send none: so no message is demanded that some server does not send.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from comfysoak.check.conversation.ear import Told
from comfysoak.check.conversation.figures import counted, seconds, some
from comfysoak_core.clock import NS_PER_S
from comfysoak_core.comfyui.messages import (
    BadMessage,
    Executing,
    ExecutionCached,
    ExecutionError,
    ExecutionInterrupted,
    ExecutionStart,
    ExecutionSuccess,
    Message,
    Progress,
    ProgressState,
    Status,
)

_ENDS = (ExecutionSuccess, ExecutionError, ExecutionInterrupted)


def mistakes_of_order(told: Sequence[Told], prompt_id: str, showing: frozenset[str] = frozenset()) -> list[str]:
    """What came that does not come like this, or did not come; `told` is all that came on the prompt's socket.

    `showing`: the nodes that history says have put out files, each of which is to be told of by `executed`.
    """
    messages = [one.message for one in told]
    own = [message for message in messages if message.prompt_id == prompt_id]
    if not own:
        return ["no message about the prompt came"]
    return [
        *(f"no message: {message.reason}" for message in messages if isinstance(message, BadMessage)),
        *_beginning(own),
        *_nodes(own),
        *_missing(own, showing),
        *_ending(own),
        *_statuses(messages, prompt_id),
    ]


def _beginning(own: Sequence[Message]) -> Iterator[str]:
    if not isinstance(own[0], ExecutionStart):
        yield f"the first message about it was {own[0].kind}, not execution_start"
    for kind in (ExecutionStart, ExecutionCached):
        count = sum(isinstance(message, kind) for message in own)
        if count != 1:
            yield f"{kind.KIND} came {counted(count, 'time')}"
    if len(own) > 1 and isinstance(own[0], ExecutionStart) and not isinstance(own[1], ExecutionCached):
        yield f"{own[1].kind} came between execution_start and execution_cached"


def _nodes(own: Sequence[Message]) -> Iterator[str]:
    """Each node is shown as running before it is named, and none that comes from the cache is run."""
    has_states = any(isinstance(message, ProgressState) for message in own)
    cached: frozenset[str] = frozenset()
    shown: set[str] = set()
    values: dict[str, float] = {}
    for message in own:
        if isinstance(message, ExecutionCached):
            cached = frozenset(message.nodes)
        elif isinstance(message, ProgressState):
            shown |= message.nodes.keys()
        elif isinstance(message, Executing) and message.node is not None:
            if message.node in cached:
                yield f"node {message.node} was told to come from the cache, and was executed"
            if has_states and message.node not in shown:
                yield f"executing node {message.node} came before a progress_state that shows it"
        elif isinstance(message, Progress) and message.node is not None and message.value is not None:
            if message.value < values.get(message.node, 0.0):
                yield f"the progress of node {message.node} fell from {values[message.node]:g} to {message.value:g}"
            values[message.node] = message.value


def _missing(own: Sequence[Message], showing: frozenset[str]) -> Iterator[str]:
    if any(isinstance(message, ExecutionError | ExecutionInterrupted) for message in own):
        return
    told = {str(message.raw.get("data", {}).get("node")) for message in own if message.kind == "executed"}
    silent = sorted(showing - told)
    if silent:
        yield f"history has files of node {some(silent)}, and no `executed` told of them"


def _ending(own: Sequence[Message]) -> Iterator[str]:
    ends = [index for index, message in enumerate(own) if isinstance(message, _ENDS)]
    if len(ends) != 1:
        yield f"{counted(len(ends), 'message')} came that tell how it ended (execution_success, _error, _interrupted)"
    nulls = [index for index, message in enumerate(own) if isinstance(message, Executing) and message.is_end]
    if len(nulls) != 1:
        yield f"executing null came {counted(len(nulls), 'time')}"
    elif nulls[0] != len(own) - 1:
        yield f"{own[-1].kind} came after executing null"
    elif ends and nulls[0] < ends[-1]:
        yield "executing null came before the message that tells how it ended"


def _statuses(messages: Sequence[Message], prompt_id: str) -> Iterator[str]:
    """The queue's length is told to all when it changes: when it is queued, and when it has ended."""
    null = [i for i, one in enumerate(messages) if isinstance(one, Executing) and one.is_end]
    success = [i for i, one in enumerate(messages) if isinstance(one, _ENDS) and one.prompt_id == prompt_id]
    if not null or not success or null[-1] < success[-1]:
        return
    if not any(isinstance(one, Status) for one in messages[success[-1] : null[-1]]):
        yield "no status came between the end of its work and executing null"


def told_shortly(told: Sequence[Told], prompt_id: str) -> str:
    """`61 messages in 3.20 s: 1 execution_start, ... 1 executing null`."""
    own = [one for one in told if one.message.prompt_id == prompt_id]
    if not own:
        return "no message"
    kinds = Counter(_kind(one.message) for one in own)
    lasted_s = (own[-1].at_ns - own[0].at_ns) / NS_PER_S
    words = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{counted(len(own), 'message')} in {seconds(lasted_s)} ({words})"


def _kind(message: Message) -> str:
    return "executing null" if isinstance(message, Executing) and message.is_end else message.kind
