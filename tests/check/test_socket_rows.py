"""What is made of runs and sockets, without a server: privacy, size, holding, gateways, models, troubles."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from comfysoak.check.conversation.ear import End, Told
from comfysoak.check.conversation.run import Fetched, Run
from comfysoak.check.conversation.runs import asked_for
from comfysoak.check.conversation.server_log import Entry, goes_back
from comfysoak.check.conversation.trouble import trouble_of
from comfysoak.check.model_files import embedding_is_listed, embeddings, model_files
from comfysoak.check.parts.socket import by_itself
from comfysoak.check.parts.socket.of_runs import private, recovery, sizes
from comfysoak.check.row import State
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.answers import Queue
from comfysoak_core.comfyui.messages import parse_binary, parse_text
from comfysoak_core.rows import Outcome, Prompt
from tests.check.stand import sound_workflow

MIB = 1024 * 1024
OURS, THEIRS = "11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"


def told(kind: str, size_bytes: int = 100, **data: Any) -> Told:
    """One message."""
    return Told(1, parse_text(json.dumps({"type": kind, "data": data})), size_bytes)


def run(**changes: Any) -> Run:
    """One that went well and heard a status on both sockets."""
    row = Prompt(
        id=OURS, server="http://s", worker="check", client_id="c", workflow="first run", scheduled_ns=0,
        deadline_ns=5_000_000_000, outcome=Outcome.SUCCESS, end_source="socket",
    )  # fmt: skip
    plain = Run(asked_for("first run", sound_workflow(), {}), row, (told("status"),), (told("status"),))
    return replace(plain, **changes)


class TestPrivacy:
    def test_broadcasts_are_no_leak(self) -> None:
        """Progress of prompts without client_id goes to all by design, as do status and texts."""
        broadcast = (told("status"), told("progress", prompt_id=THEIRS), told("progress_state", prompt_id=THEIRS))
        assert private([run(told=broadcast, elsewhere=broadcast)]).state is State.OK

    def test_a_socket_that_hears_of_our_prompt(self) -> None:
        """Somebody else's socket is told of our prompt."""
        row = private([run(elsewhere=(told("executing", prompt_id=OURS, node="3"),))])
        assert row.state is State.FAILED
        assert "1 executing" in row.seen

    def test_hearing_of_somebody_elses_prompt(self) -> None:
        """Our socket is told what only the owner of a prompt is told."""
        row = private([run(told=(told("execution_start", prompt_id=THEIRS),))])
        assert row.state is State.FAILED
        assert "not ours" in row.seen


class TestSize:
    def test_the_limit_of_small_clients(self) -> None:
        """A workflow with a message of over 1 MiB is told, with the clients that close at it."""
        row = sizes([run(told=(told("executed", 2 * MIB),))], None, lacks_nodes=False)
        assert (row.state, row.code) == (State.WARNING, Code.WS_TOO_BIG)
        assert "1 MiB (Python's websockets)" in row.seen

    def test_the_limit_of_the_platform(self) -> None:
        """Over 4 MiB, aiohttp closes too."""
        row = sizes([run(told=(told("executed", 5 * MIB),))], None, lacks_nodes=False)
        assert "aiohttp" in row.seen

    def test_a_cut_at_a_large_message(self) -> None:
        """What ends the socket when a large message comes is a limit in between."""
        large = run(socket_end=End(2, 1006, "", ours=False))
        assert sizes([run()], large, lacks_nodes=False).code is Code.WS_TOO_BIG
        assert sizes([run()], large, lacks_nodes=False, cuts_idle=True).state is State.SKIPPED

    def test_one_that_came(self) -> None:
        """It came whole."""
        frame = Told(1, parse_binary(b"\0\0\0\1\0\0\0\2" + bytes(MIB)), MIB + 8)
        large = run(told=(frame,), outputs=(Fetched("picture", "3", MIB, None),))
        row = sizes([run()], large, lacks_nodes=False)
        assert row.state is State.OK
        assert "1.0 MiB" in row.seen

    def test_a_server_without_the_nodes(self) -> None:
        """Where it cannot be tried, that is said, and nothing claimed."""
        row = sizes([run()], None, lacks_nodes=True)
        assert row.state is State.OK
        assert "not tried: the server has no ImageAddNoise" in row.seen


class TestHolding:
    def test_drops(self) -> None:
        """Each drop is told with its code and the age of the socket."""
        holding = by_itself.Holding(drops=[(61.0, End(0, 1006, "", ours=False)), (60.0, End(0, 1001, "x", ours=False))])
        row = by_itself.held(holding, 300.0)
        assert row.code is Code.WS_ABNORMAL
        assert "2 drops in 300 s: 1006 after 61.00 s, 1001 x after 60.00 s" in row.seen

    def test_deaf_at_the_end(self) -> None:
        """One that answers pings and is told nothing has been forgotten."""
        assert by_itself.held(by_itself.Holding(pings=3, is_deaf=True), 60.0).code is Code.WS_ZOMBIE


@pytest.mark.parametrize(
    ("version", "is_old", "state"),
    [
        ("0.12.4", False, State.OK),
        ("0.9.0", False, State.OK),
        ("0.8.12", False, State.WARNING),
        ("0.3.35", True, State.WARNING),
        (None, True, State.OK),
        (None, False, State.OK),
    ],
)
def test_gateways_that_share_an_id(version: str | None, is_old: bool, state: State) -> None:
    """A gateway known to be older than 0.9 uses its user's id; of one that tells no version nothing is claimed."""
    assert by_itself._of_gateway(version, is_old=is_old).state is state


def test_a_run_that_was_over_before_the_cut() -> None:
    """Then nothing was tried."""
    assert recovery(run()).state is State.SKIPPED


class TestModels:
    OLD = {"L": {"input": {"required": {"vae_name": [["a.safetensors", "taesd"]], "prompt": ["STRING"]}}}}
    NEW = {"L": {"input": {"required": {"vae_name": ["COMBO", {"options": ["sub/a.safetensors"]}]}}}}

    @staticmethod
    def graph(name: str) -> dict[str, Any]:
        """A loader and what saves."""
        return {
            "1": {"class_type": "L", "inputs": {"vae_name": name, "prompt": "look at a.safetensors"}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
        }

    def test_listed_and_not(self) -> None:
        """In either style of declaration; a prompt that ends like a file is none."""
        (found,) = model_files(self.graph("a.safetensors"), self.OLD)
        assert found.is_listed
        (missing,) = model_files(self.graph("a.safetensors"), self.NEW)
        assert not missing.is_listed
        assert missing.nearest == ["sub/a.safetensors"]

    def test_choices_that_are_no_files(self) -> None:
        """`taesd` is a choice of VAELoader, and no file."""
        assert model_files(self.graph("taesd"), self.OLD) == ()

    def test_embeddings(self) -> None:
        """They are found in prompts, with weights and without extension."""
        graph = {"1": {"class_type": "X", "inputs": {"text": "a cat, (embedding:bad_hands:1.2), embedding:fine.pt"}}}
        assert embeddings(graph) == ("bad_hands", "fine.pt")
        assert embedding_is_listed("fine.pt", ["fine"])
        assert not embedding_is_listed("bad_hands", ["fine"])


@pytest.mark.parametrize(
    ("newest", "several"), [("1234", False), ("1111", False), ("4123", False), ("1919", False), ("191919", True)]
)
def test_a_log_that_changes_to_and_fro_is_of_several_servers(newest: str, several: bool) -> None:  # a case
    """The newest line of one server's log never gets older, but for a clock that is set back once."""
    assert goes_back([None, *((Entry(time, "x"),) for time in newest), ()]) is several


def test_a_node_that_wants_an_account() -> None:
    """Nodes that ask services on the web fail behind any gateway: that is told, and not to look into the log."""
    said = "Unauthorized: Please login first to use this node."
    row = replace(run().row, outcome=Outcome.FAILED, code=Code.NODE_ERROR, error_message=said)
    trouble = trouble_of(run(row=row))
    assert trouble is not None
    assert "api_key_comfy_org" in trouble.row.remedy


def test_behind_others_that_move() -> None:
    """A prompt that waited until its deadline while others got done says nothing of the workflow."""
    row = replace(run().row, outcome=Outcome.TIMEOUT, code=Code.DEADLINE)
    waited = run(
        row=row,
        queue_before=Queue((THEIRS,), ("x",), 2.0),
        queue_at_deadline=Queue(("x",), (OURS,), 3.0),
    )
    trouble = trouble_of(waited)
    assert trouble is not None
    assert trouble.row.state is State.SKIPPED
    assert "behind 2 prompts of others, 1 of them still there" in trouble.row.seen
