"""The outputs of a prompt, fetched as the platform fetches them, and held against what the workflow says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from comfysoak.check.conversation.ear import Told
from comfysoak.check.conversation.run import Asked, Fetched, heard_pictures
from comfysoak_core.comfyui.client import ComfyClient
from comfysoak_core.comfyui.expected import UNKNOWN
from comfysoak_core.comfyui.history import OutputFile
from comfysoak_core.errors import TargetError
from comfysoak_core.outputs.check import problem_of

FILES_MOST = 64  # that are fetched of one prompt


def fetched(client: ComfyClient, asked: Asked, files: Sequence[OutputFile], told: Sequence[Told]) -> list[Fetched]:
    """Every file, and every picture that came by the socket."""
    return [*_files(client, asked, files), *_pictures(asked, told)]


def _files(client: ComfyClient, asked: Asked, files: Sequence[OutputFile]) -> Iterator[Fetched]:
    for file in files[:FILES_MOST]:
        name = "/".join(part for part in (file.type, file.subfolder, file.filename) if part)
        try:
            data = client.view(file)
        except TargetError as error:
            yield Fetched(name, file.node_id, 0, file, missing=error.problems[0].what)
            continue
        yield Fetched(name, file.node_id, len(data), file, wrong=_problem(asked, file.node_id, file.filename, data))


def _pictures(asked: Asked, told: Sequence[Told]) -> Iterator[Fetched]:
    nodes = frozenset(node_id for node_id, files in asked.expected.items() if files.by_socket)
    for node_id, data in heard_pictures(told, nodes):
        name = f"picture of node {node_id}"
        yield Fetched(name, node_id, len(data), None, wrong=_problem(asked, node_id, f"{name}.png", data))


def _problem(asked: Asked, node_id: str, filename: str, data: bytes) -> str | None:
    expected = asked.expected.get(node_id, UNKNOWN).each
    return problem_of(filename, data, replace(expected, noise=True) if node_id in asked.noise else expected)


def count_problem(asked: Asked, outputs: Sequence[Fetched], *, heard_all: bool) -> str | None:
    """Fewer or more than the workflow saves, at the first node where that is so."""
    counts = Counter(one.node_id for one in outputs)
    for node_id, files in asked.expected.items():
        told = heard_all or not files.by_socket
        if told and files.count is not None and files.count <= FILES_MOST and counts[node_id] != files.count:
            return f"node {node_id} gave {counts[node_id]} files instead of {files.count}"
    return None
