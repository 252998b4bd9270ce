"""What a check has sent is taken back by its id, and nothing else: from the queue, from the worker, from history."""

from __future__ import annotations

import time
from typing import Final

from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.history import HistoryEntry
from comfysoak_core.errors import TargetError

STOPS_WITHIN_S: Final = 10.0  # an interrupt is looked at by the next node, step or layer
_AGAIN_S: Final = 0.1


def take_back(client: ComfyClient, prompt_id: str, within_s: float = STOPS_WITHIN_S) -> bool:
    """Delete it where it waits, interrupt it where it runs, and wait for its end; False: it is still there.

    It is interrupted only where /queue has just shown that it is ours that runs: old servers interrupt whatever runs.
    """
    deadline_s = time.monotonic() + within_s
    asked = False
    while True:
        try:
            client.delete_pending(prompt_id)
            queue = client.queue()
            if prompt_id in queue.running and not asked:
                client.interrupt(prompt_id)
                asked = True
            if prompt_id not in queue:
                return True
        except TargetError as error:  # else it may answer in a moment
            if isinstance(error.__cause__, ConnectionRefusedError):
                return True  # gone, and its queue with it
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_AGAIN_S)


def forget(client: ComfyClient, prompt_id: str) -> bool:
    """Delete its entry from history; whether there is none now."""
    try:
        client.delete_history(prompt_id)
        return not isinstance(client.history(prompt_id), HistoryEntry)
    except TargetError:
        return False
