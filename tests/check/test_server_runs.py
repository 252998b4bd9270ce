"""Models, WebSocket and processing: sound servers, and servers with one fault each."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from comfysoak.check.checking import PROMPTS_MOST
from comfysoak.check.row import State
from comfysoak.check.rows import Part
from comfysoak.check.settings import Given
from comfysoak_core.codes import Code
from comfysoak_core.comfyui.client import ComfyClient
from tests.check.stand import Looked, Stand, look, served, sound_workflow
from tests.cli.runs import eventually

RUNS = (Part.CONFIGURATION, Part.MODELS, Part.SOCKET, Part.PROCESSING)
OURS = ("models.", "socket.", "run.")


def complaints(looked: Looked) -> dict[str, Code | None]:
    """Which of our rows complain, and the code of each."""
    bad = (State.FAILED, State.WARNING)
    return {id_: row.code for id_, row in looked.rows.items() if row.state in bad and id_.startswith(OURS)}


def given(graph: dict[str, Any]) -> Given:
    """A workflow as the command line gives it."""
    return Given(json.dumps(graph), "a test")


@contextmanager
def prompts_of_another(url: str, count: int, seconds: float) -> Iterator[list[str]]:
    """Somebody else's prompts in the queue; their ids."""
    with ComfyClient(url) as client:
        ids = []
        for number in range(count):
            graph = {
                "1": {"class_type": "HarnessSleep", "inputs": {"seconds": seconds, "tag": f"{number}"}},
                "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
            }
            answer = client.post_prompt(json.dumps({"prompt": graph, "client_id": "another"}).encode())
            ids.append(str(getattr(answer, "prompt_id", None)))
        yield ids


def nothing_is_left(url: str) -> bool:
    """Whether queue and history of a server of our own are empty."""
    with ComfyClient(url) as client:
        return client.queue_remaining() == 0 and client.history_page(10) == ()


@pytest.fixture(scope="module")
def one() -> Iterator[Stand]:
    """A sound server for what is the same in both versions."""
    with served() as stand:
        yield stand


class TestSound:
    def test_every_row_is_ok(self, stand: Stand) -> None:
        """A sound server gives no complaint, every row has its figures, and nothing of ours is left on it."""
        looked = look(stand.settings(hold_s=0.3), *RUNS)
        skipped = [id_ for id_, row in looked.rows.items() if row.state is State.SKIPPED and id_.startswith(OURS)]
        assert complaints(looked) == {}
        assert skipped == []
        assert looked.checking.prompts_sent <= PROMPTS_MOST - 4
        assert nothing_is_left(stand.url)
        rows = looked.rows
        assert "sd_xl_base_1.0.safetensors" in rows["models.listed"].seen
        assert "KSampler (node 3)" in rows["run.nodes"].seen
        assert "MiB" in rows["socket.size"].seen
        assert "output/comfysoak/ grows by" in rows["run.folders"].seen
        assert "4 files stay" in rows["run.left"].seen
        assert "open for 300 ms; 1 ping" in rows["socket.hold"].seen
        assert "1 execution_cached" in rows["socket.order"].seen
        assert "from the cache" in rows["socket.order"].seen

    def test_a_cold_load_is_told_from_a_warm_one(self) -> None:
        """The first run on a new server loads the models, which the log tells; the second does not."""
        with served() as fresh:
            cold = look(fresh.settings(), *RUNS[:2]).rows["models.load"].seen
            warm = look(fresh.settings(), *RUNS[:2]).rows["models.load"].seen
            freed = look(fresh.settings(unload_first=True), *RUNS[:2]).rows["models.load"].seen
        assert "the first one loaded SDXL" in cold
        assert "loaded already" in warm
        assert "models were unloaded before it; the first one loaded SDXL" in freed

    def test_prompts_of_others_only_make_it_wait(self) -> None:
        """Others' prompts are waited for and left alone, and their messages are no fault."""
        with served(speed=20) as busy, prompts_of_another(busy.url, 4, 10.0) as others:
            looked = look(busy.settings(), *RUNS)
            with ComfyClient(busy.url) as client:
                kept = {entry.prompt_id for entry in client.history_page(10)}
        assert complaints(looked) == {}
        assert kept == set(others)
        assert any("waiting" in words or "before it" in words for words in looked.said)

    def test_a_workflow_without_a_seed(self, one: Stand) -> None:
        """Where nothing can vary the cache answers, which is told; time and recovery are looked at all the same."""
        graph = {
            "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 1}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "plain"}},
        }
        looked = look(one.settings(workflow=given(graph), nodes=None), *RUNS)
        assert complaints(looked) == {}
        assert looked.rows["run.repeat"].state is State.SKIPPED
        assert looked.rows["run.nodes"].state is State.OK

    def test_no_prompt_is_sent_for_a_workflow_that_cannot_be(self, one: Stand) -> None:
        """Rows that need runs are skipped with the reason, those that need none are looked at."""
        graph = sound_workflow()
        del graph["3"]["inputs"]["model"]
        looked = look(one.settings(workflow=given(graph)), *RUNS)
        assert complaints(looked) == {}
        assert looked.rows["socket.connects"].state is State.OK
        assert looked.rows["socket.ping"].state is State.OK
        assert looked.rows["run.succeeds"].state is State.SKIPPED
        assert looked.checking.prompts_sent <= 1  # the large message has a graph of its own

    @pytest.mark.parametrize(
        ("faults", "told"),
        [([], {}), ([{"kind": "wrong-output", "how": "size"}], {"run.pictures": Code.OUTPUT_WRONG})],
    )
    def test_an_output_that_is_left_out(self, faults: list[dict[str, Any]], told: dict[str, Code | None]) -> None:
        """What a server leaves out without a word is told of the workflow alone; what else is wrong is told too."""
        graph = sound_workflow()
        graph["3"]["inputs"]["positive"] = ["30", 0]
        graph |= {
            "20": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 1}},
            "21": {"class_type": "SaveImage", "inputs": {"images": ["20", 0], "filename_prefix": "plain"}},
            "30": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["30", 0]}},
        }
        with served("0.3.64", faults=faults) as drops:
            looked = look(drops.settings(workflow=given(graph), nodes=None), *RUNS)
        assert complaints(looked) == told
        assert looked.rows["workflow.links"].code is Code.OUTPUT_DROPPED

    def test_a_model_that_is_not_listed(self, one: Stand) -> None:
        """It is told with the nearest there is, and nothing is run."""
        graph = sound_workflow()
        graph["4"]["inputs"]["ckpt_name"] = "sd_xl_base_1.1.safetensors"
        looked = look(one.settings(workflow=given(graph), nodes=None), *RUNS)
        assert complaints(looked) == {"models.listed": Code.VALIDATION_REJECTED}
        assert "sd_xl_base_1.0.safetensors" in looked.rows["models.listed"].remedy


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Code | None]]] = {
    "a node raises": ({"kind": "node-error", "node": "VAEDecode"}, {"run.succeeds": Code.NODE_ERROR}),
    "a loader raises": ({"kind": "node-error", "node": "CheckpointLoaderSimple"}, {"models.load": Code.NODE_ERROR}),
    "memory runs out": ({"kind": "oom", "node": "KSampler"}, {"models.memory": Code.OOM}),
    "the worker is dead": ({"kind": "worker-dead"}, {"run.succeeds": Code.WORKER_DEAD, "run.queue": None}),
    "POST fails": ({"kind": "http-error", "path": "/prompt"}, {"run.succeeds": Code.SUBMIT_ERROR}),
    "files are gone": ({"kind": "missing-output"}, {"socket.images": Code.OUTPUT_MISSING}),
    "pictures are black": ({"kind": "wrong-output"}, {"run.pictures": Code.OUTPUT_WRONG}),
    "pictures are small": ({"kind": "wrong-output", "how": "size"}, {"run.pictures": Code.OUTPUT_WRONG}),
    "files are pages": ({"kind": "wrong-output", "how": "text"}, {"run.pictures": Code.OUTPUT_WRONG}),
    "somebody interrupts": ({"kind": "misfire", "node": "KSampler"}, {"run.succeeds": Code.INTERRUPT_MISFIRE}),
    "cached messages are lost": (
        {"kind": "lose-messages", "type": "execution_cached"},
        {"socket.order": Code.BAD_MESSAGE},
    ),
    "messages are rubbish": ({"kind": "hostile-messages", "probability": 0.2}, {"socket.order": Code.BAD_MESSAGE}),
    "history is late": ({"kind": "late-history", "delay": "100ms"}, {}),
}


class TestFaults:
    @pytest.mark.parametrize("name", FAULTS)
    def test_the_right_row_tells(self, name: str) -> None:
        """One fault gives one row, with its code and a remedy; rows that it keeps from being judged are skipped."""
        fault, expected = FAULTS[name]
        with served(faults=[fault]) as bad:
            looked = look(bad.settings(deadline_s=3.0, idle_s=0.05), *RUNS)
        assert complaints(looked) == expected
        assert all(row.remedy for row in looked.rows.values() if row.state in (State.FAILED, State.WARNING))

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            ({"kind": "lose-messages"}, Code.LOST_TERMINAL),
            ({"kind": "silent-sockets", "for": "60s"}, Code.WS_HEAD_OF_LINE),
            ({"kind": "drop-sockets"}, Code.WS_ABNORMAL),
        ],
    )
    def test_an_end_that_is_not_told(self, fault: dict[str, Any], code: Code) -> None:
        """Where executing null does not come, history tells the end, and what else came tells why."""
        with served(faults=[fault]) as bad:
            looked = look(bad.settings(deadline_s=3.0, idle_s=0.05), *RUNS[:1], Part.SOCKET)
        assert complaints(looked) == {"socket.order": code}

    def test_the_cause_is_told(self) -> None:
        """Node, class, exception and message of the server stand in the row, cut to a bound."""
        fault = {"kind": "node-error", "node": "VAEDecode", "type": "ValueError", "message": "wrong " * 500}
        with served(faults=[fault]) as bad:
            seen = look(bad.settings(), *RUNS).rows["run.succeeds"].seen
        assert "VAEDecode (node 8): ValueError: wrong wrong" in seen
        assert len(seen) < 600

    def test_a_node_that_hangs(self) -> None:
        """At the deadline it is interrupted by its id; one that does not look up is told as hanging, and where."""
        with served(faults=[{"kind": "hang", "node": "KSampler", "for": "1h"}]) as bad:
            looked = look(bad.settings(deadline_s=2.0), *RUNS)
        assert looked.rows["run.succeeds"].code is Code.NODE_HANG
        assert "KSampler (node 3)" in looked.rows["run.succeeds"].seen
        assert looked.rows["run.queue"].state is State.FAILED
        assert looked.checking.prompts_sent == 1

    def test_a_node_that_is_slow(self) -> None:
        """One that can be interrupted is taken back at the deadline, and nothing is left."""
        costs = {"KSampler": {"steps": 1000, "seconds_per_step": "10s"}}
        with served(costs=costs) as slow:
            looked = look(slow.settings(deadline_s=2.0), *RUNS)
            assert nothing_is_left(slow.url)
        assert complaints(looked) == {"run.succeeds": Code.DEADLINE}
        assert "KSampler (node 3) was running" in looked.rows["run.succeeds"].seen

    def test_others_that_do_not_end(self) -> None:
        """Behind somebody else's long prompt ours is taken back at the deadline, theirs is left; nothing is failed."""
        with served(speed=1) as busy, prompts_of_another(busy.url, 2, 60.0) as others:
            looked = look(busy.settings(deadline_s=0.5), *RUNS)
            with ComfyClient(busy.url) as client:
                queue = client.queue()
        assert not [row for row in looked.rows.values() if row.state is State.FAILED]
        assert "behind 2 prompts of others" in looked.rows["run.succeeds"].seen
        assert {*queue.running, *queue.pending} == set(others)

    def test_a_prompt_that_somebody_deletes(self) -> None:
        """A pending prompt that is in neither queue nor history has vanished."""
        with served(speed=1) as busy, prompts_of_another(busy.url, 1, 1.0):
            stop = threading.Event()
            thread = threading.Thread(target=_delete_pending, args=(busy.url, stop))
            thread.start()
            looked = look(busy.settings(deadline_s=3.0), *RUNS[:2], Part.PROCESSING)
            stop.set()
            thread.join()
        assert looked.rows["run.succeeds"].code is Code.PROMPT_VANISHED

    def test_an_idle_socket_that_is_cut(self) -> None:
        """A proxy's idle timeout shows before the time of silence is over, and how soon."""
        with served(faults=[{"kind": "idle-cut", "after": "700ms"}]) as bad:
            looked = look(bad.settings(idle_s=8.0), *RUNS[:1], Part.SOCKET)
        assert complaints(looked) == {"socket.ping": Code.WS_IDLE_CUT}
        assert looked.rows["socket.ping"].seen.startswith("cut after ")

    def test_nothing_answers(self) -> None:
        """Without a server all rows are skipped, each with the reason."""
        with served() as gone:
            settings = gone.settings()
        looked = look(settings, *RUNS)
        ours = [row for id_, row in looked.rows.items() if id_.startswith(OURS)]
        assert {row.state for row in ours} == {State.SKIPPED}


def _delete_pending(url: str, stop: threading.Event) -> None:
    with ComfyClient(url) as client:
        while not stop.is_set():
            for prompt_id in client.queue().pending:
                client.delete_pending(prompt_id)
            time.sleep(0.02)


class TestServerThatGoes:
    """It answers at first, and not in mid run: one row tells, all that would ask it again is skipped."""

    def test_one_row_tells(self) -> None:
        """A server that refuses connections in mid run is told as such, at once."""
        costs = {"KSampler": {"steps": 1000, "seconds_per_step": "30s"}}
        with served(costs=costs) as gone:
            killer = threading.Thread(target=_kill_in_mid_run, args=(gone,))
            killer.start()
            looked = look(gone.settings(), *RUNS)
            killer.join()
        assert complaints(looked) == {"run.succeeds": Code.SERVER_DOWN}
        assert looked.checking.prompts_sent == 1
        assert looked.rows["run.left"].state is State.SKIPPED


def _kill_in_mid_run(stand: Stand) -> None:
    with ComfyClient(stand.url) as client:
        eventually(lambda: bool(client.queue().running), "a prompt that runs")
    stand.do(stand.server.kill())
