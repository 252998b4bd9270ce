"""The sentences that every output says alike: how it came out, and what to do next."""

from __future__ import annotations

from comfysoak.check.account import Account
from comfysoak.check.row import State
from comfysoak.check.rows import Part
from comfysoak_core.errors import ExitCode


def counted(count: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def headline(account: Account) -> str:
    """In two or three words."""
    if account.interrupted is not None:
        return "Interrupted"
    failures = account.counts.get(State.FAILED, 0)
    if failures:
        return f"{counted(failures, 'row')} failed"
    if not account.judged:
        return "Nothing was looked at"
    warnings = account.counts.get(State.WARNING, 0)
    return f"Sound, with {counted(warnings, 'warning')}" if warnings else "Sound"


def counts_in_words(account: Account) -> str:
    """`41 ok, 1 warning, 2 failed, 18 skipped`."""
    plural = {State.WARNING: "warnings"}
    parts = []
    for state in State:
        count = account.counts.get(state, 0)
        word = plural.get(state, state.value) if count != 1 else state.value
        parts.append(f"{count} {word}")
    return ", ".join(parts)


def effort(account: Account) -> str:
    """What the check took: `8 s, 6 prompts`."""
    return f"{account.took_s:.0f} s, {counted(account.prompts_sent, 'prompt')} sent"


def next_step(account: Account) -> str:
    """The one thing to do now."""
    if account.interrupted is not None:
        return "Call it again for the rows that are missing; what it had changed is put back."
    if failures := account.to_mend():
        others = " first, the others may come from it;" if len(failures) > 1 else ","
        return f"Mend {failures[0].kind.id}{others} then call this again."
    if account.of(State.FAILED):
        return "Report the mistake of ours; the other rows stand."
    if not account.judged:
        return "Name a ComfyUI: comfysoak check http://HOST:8188 --workflow my-workflow-api.json"
    return _further(account)


def _further(account: Account) -> str:
    """After all is well: what was not looked at yet, in the order in which it is worth looking at."""
    if not account.target:
        return "Name the ComfyUI too, for the rows that were skipped: comfysoak check http://HOST:8188"
    looked_at = {row.kind.part for row in account.rows if row.state is not State.SKIPPED}
    if Part.PROCESSING not in looked_at:
        return "Name a workflow too, for the rows that were skipped: --workflow my-workflow-api.json"
    if not account.gateway:
        return (
            "If a gateway stands before it: --gateway http://HOST:8080. Under load: comfysoak init and comfysoak run."
        )
    if Part.ERRORS not in looked_at:
        return "How it fails: --errors (it asks first). Under load: comfysoak init and comfysoak run."
    return "Under load: comfysoak init and comfysoak run."


def stamp(account: Account) -> str:
    """One sign for the whole."""
    if account.interrupted is not None or not account.judged:
        return "?"
    return "✓" if account.exit_code is ExitCode.OK else "✕"
