"""`comfysoak check` called on a set-up as a user calls it, and whether it says what is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.mistakes.planted import Mistake
from benchmarks.mistakes.setup import TOKEN, Setup, Standing, standing

IDLE_S: Final = 2.0
PROMPTS_MOST: Final = 10
_WITHIN_S: Final = 180.0
_SECRETS: Final = (
    TOKEN,
    "hunter2swordfish",
    "sk-Km4Tz8Qw2Xc6Vb9Nn1Pj",
    "sk-Rw5Tg9Hb3Nm7Kp1Lz6Qx",
    "sk-wrongwrongwrong11",
    "sk-notthisonenotthisone",
)
_STAYS: Final = r"stay|left|still (in|at|runs|there)|cannot be (taken|deleted)"  # words that say what it leaves
_COMPLAINTS: Final = {"warning", "failed"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the command said: rows as in its JSON, and what it did beside that."""

    rows: tuple[dict[str, Any], ...]
    exit_code: int
    prompts_sent: int
    took_s: float
    faults: tuple[str, ...]  # of the command itself: a secret told, something left behind, too many prompts

    @property
    def complaints(self) -> dict[str, str]:
        """Row to state and words, of those that complain."""
        return {
            row["id"]: f"{row['state']}: {row['seen']} | {row['remedy']}"
            for row in self.rows
            if row["state"] in _COMPLAINTS
        }


@dataclass(frozen=True, slots=True)
class Judged:
    """One set-up: whether the mistake was found, by the right row and with the right remedy; and what was false."""

    name: str
    area: str
    found: bool
    right_remedy: bool
    false: tuple[str, ...]
    answer: Answer


def judge_mistake(mistake: Mistake) -> Judged:
    """One planted mistake."""
    answer = ask(mistake.setup)
    complaints = answer.complaints
    hits = [words for row, words in complaints.items() if row in mistake.rows]
    false = [f"{row}: {words}" for row, words in complaints.items() if row not in mistake.rows | mistake.also]
    right = any(re.search(mistake.remedy, words.partition(" | ")[2]) for words in hits)
    return Judged(mistake.name, mistake.area, bool(hits), right, (*false, *answer.faults), answer)


def judge_sound(name: str, setup: Setup) -> Judged:
    """One sound set-up: whatever complains is false."""
    answer = ask(setup)
    false = tuple(f"{row}: {words}" for row, words in answer.complaints.items())
    return Judged(name, "sound", found=True, right_remedy=True, false=(*false, *answer.faults), answer=answer)


def ask(setup: Setup) -> Answer:
    """The command on this set-up, standing."""
    with tempfile.TemporaryDirectory() as name, standing(setup, Path(name)) as stands:
        before = _state(stands)
        done = _called(stands, Path(name))
        after = _state(stands)
    document = json.loads(done.stdout) if done.stdout.strip() else {"rows": [], "prompts_sent": 0, "took_s": 0.0}
    rows = tuple(document["rows"])
    told = any(row["state"] in _COMPLAINTS and re.search(_STAYS, row["seen"]) for row in rows)
    left = () if told else _left(before, after, others=setup.others_prompts > 0)  # what it says it left, it left openly
    faults = [*_faults(done, document, rows), *left]
    return Answer(rows, done.returncode, document["prompts_sent"], document["took_s"], tuple(faults))


def _called(stands: Standing, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command, with at most `_WITHIN_S`: one that does not end is a fault of it, not of ours."""
    options = ["--json", "--idle", f"{IDLE_S:g}s", "--deadline", "30s"]
    with subprocess.Popen(
        [sys.executable, "-m", "comfysoak", "check", *options, *stands.arguments],
        env=dict(stands.environment),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _faults(
    done: subprocess.CompletedProcess[str], document: dict[str, Any], rows: tuple[dict[str, Any], ...]
) -> Iterable[str]:
    if any(secret in done.stdout + done.stderr for secret in _SECRETS):
        yield "a secret was told"
    if "Traceback" in done.stdout + done.stderr or "mistake of" in done.stdout + done.stderr:
        yield f"it broke: {done.stderr[-500:]}"
    if document["prompts_sent"] > PROMPTS_MOST:
        yield f"{document['prompts_sent']} prompts were sent"
    expected = 4 if any(row["state"] == "failed" for row in rows) else 0
    if done.returncode != expected:
        yield f"exit code {done.returncode}, expected {expected}: {done.stderr[-500:]}"


def _state(stands: Standing) -> dict[str, Any]:
    """What the server holds, asked past all that lies between; nothing where it does not answer."""
    found: dict[str, Any] = {}
    for path in ("/queue", "/history"):
        try:
            with urllib.request.urlopen(f"{stands.behind}{path}", timeout=5) as answer:
                found[path] = json.load(answer)
        except (OSError, ValueError):
            found[path] = None
    return found


def _left(before: dict[str, Any], after: dict[str, Any], *, others: bool) -> Iterable[str]:
    """What is there now and was not; prompts of others go their way meanwhile."""
    if others or None in (before["/history"], after["/history"]):
        return
    more = set(after["/history"]) - set(before["/history"])
    if more:
        yield f"{len(more)} prompts are left in the history"
    if after["/queue"] != before["/queue"]:
        yield "the queue is not what it was"
