from __future__ import annotations

import random

import pytest

from comfysoak_core.comfyui.workflow import Workflow
from comfysoak_core.errors import UsageError
from comfysoak_load.process.built_in import GRAPH, plain_plan
from comfysoak_load.prompts.workloads import PreparedWorkload


def test_the_built_in_workflow_needs_no_model_and_never_repeats() -> None:
    """Stock nodes only, none of them a loader; two prompts differ, so that no cache answers them."""
    workflow = Workflow.from_graph(GRAPH)
    assert set(workflow.classes.values()) == {"EmptyImage", "ImageInvert", "SaveImage"}
    workload = PreparedWorkload(plain_plan("http://a:8188").workloads[0])
    numbers = random.Random(1)
    assert len({workload.draw(numbers).variation for _ in range(20)}) > 15


def test_several_servers_are_separated_by_commas() -> None:
    """One base URL or several, without a slash at the end."""
    plan = plain_plan("http://a:8188/, https://b")
    assert plan.servers == ("http://a:8188", "https://b")
    assert plan.stages == ()


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (None, "no host was given"),
        ("", "no host was given"),
        ("a:8188", "no base URL"),
        ("ftp://a", "no base URL"),
        ("http://me:secret@a:8188", "user name or password"),
    ],
)
def test_a_wrong_host_is_said_with_an_example(host: str | None, words: str) -> None:
    """Each wrong host has its message and a remedy, and a password is not repeated in it."""
    with pytest.raises(UsageError, match=words) as raised:
        plain_plan(host)
    assert raised.value.problems[0].remedy
    assert "secret" not in str(raised.value)


def test_each_run_has_its_own_seed() -> None:
    """Two runs against one server do not send the same prompts."""
    assert plain_plan("http://a").seed != plain_plan("http://a").seed
