"""Input pictures on their way to a server: uploaded once, or for each prompt as new content under a name of its own.

Names used for each prompt are used again when their prompt has ended: a soak of days leaves no more files in the input
folder of a server than it ever had prompts there at once.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Final
from uuid import uuid4

import gevent.event
import orjson
from PIL import Image

from comfysoak_core.comfyui.answers import Damaged
from comfysoak_core.comfyui.shape import Graph
from comfysoak_core.comfyui.uploading import form, made_new, parse_upload
from comfysoak_core.comfyui.variation import Draw, applied
from comfysoak_core.errors import ScenarioError
from comfysoak_core.scenario.workload import Upload, Workload
from comfysoak_load.edge.failures import Failure, FailureKind
from comfysoak_load.servers.target import Target

SUBFOLDER: Final = "comfysoak"
UPLOAD_DEADLINE_S: Final = 60.0
_GRAINS: Final = (
    64  # a made picture is this many coloured spots wide and high, blurred: neither blank nor incompressible
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture to upload."""

    suffix: str
    content: bytes

    @property
    def digest(self) -> str:
        """The same for the same content, in every process."""
        return blake2b(self.content, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Delivered:
    """The pictures of a prompt are there: what is to be sent now. `size_bytes` is 0 where all were there before."""

    body: bytes
    variation: str
    size_bytes: int


class Uploads:
    """The input pictures of one workload, for all users of this process."""

    def __init__(self, workload: Workload) -> None:
        self.inputs = tuple(_Input(upload, number) for number, upload in enumerate(workload.uploads))

    def marked(self, graph: Graph) -> Graph:
        """The graph with a mark in the place of each picture's name."""
        return applied(graph, {found.path: found.mark for found in self.inputs})

    def delivery(self, drawn: Draw, body: bytes, seed: int) -> Delivery:
        """What has to be on the server before the prompt with this body; `seed` picks the pictures."""
        return Delivery(self, drawn, body, seed)

    def send(self, found: _Input, target: Target, picture: Picture, nonce: str, slot: int) -> tuple[str, int] | Failure:
        """The name of a picture on this server, and how many bytes that took."""
        if found.each == "prompt":
            content = made_new(picture.content, nonce)
            return _upload(target, f"{found.slots.name(slot)}{picture.suffix}", content, overwrite=True)
        return found.once(target, picture)

    def forget(self, target: Target) -> None:
        """The server refused a prompt that was right: its input folder may be a new one. Upload anew."""
        for found in self.inputs:
            for key in [key for key in found.sent if key[0] == target.url]:
                del found.sent[key]


class Delivery:
    """The input pictures of one prompt."""

    __slots__ = ("_body", "_drawn", "_seed", "_slots", "_uploads")

    def __init__(self, uploads: Uploads, drawn: Draw, body: bytes, seed: int) -> None:
        self._uploads = uploads
        self._drawn = drawn
        self._body = body
        self._seed = seed
        self._slots: tuple[int, ...] = ()  # not before they are needed: a prompt may be made and never sent

    def send_to(self, target: Target) -> Delivered | Failure:
        """Upload what is not there yet; what is to be sent now, or why a picture could not be uploaded."""
        numbers = Random(self._seed)
        body, size_bytes, names = self._body, 0, {}
        self._slots = tuple(found.slots.take() for found in self._uploads.inputs)
        for found, slot in zip(self._uploads.inputs, self._slots, strict=True):
            picture, nonce = numbers.choice(found.pictures), f"{numbers.getrandbits(64):016x}"
            sent = self._uploads.send(found, target, picture, nonce, slot)
            if isinstance(sent, Failure):
                return sent
            names[found.path] = sent[0]
            size_bytes += sent[1]
            body = body.replace(orjson.dumps(found.mark), orjson.dumps(sent[0]))
        return Delivered(body, orjson.dumps({**names, **self._drawn.values}).decode(), size_bytes)

    def release(self, target: Target, *, refused: bool) -> None:
        """The prompt has ended, `refused` though it was right: others may use the names of its pictures."""
        for found, slot in zip(self._uploads.inputs, self._slots, strict=False):  # none where it was not sent
            found.slots.give_back(slot)
        if refused:
            self._uploads.forget(target)


class _Slots:
    """Names that one prompt at a time may use, told apart from those of every other process."""

    def __init__(self) -> None:
        self._process = uuid4().hex[:8]
        self._free: list[int] = []
        self._made = 0

    def take(self) -> int:
        if self._free:
            return self._free.pop()
        self._made += 1
        return self._made

    def give_back(self, slot: int) -> None:
        self._free.append(slot)

    def name(self, slot: int) -> str:
        return f"{self._process}-{slot:04}"


class _Input:
    """One input that takes pictures. `sent`: those that are uploaded once, by server and picture, with their names."""

    def __init__(self, upload: Upload, number: int) -> None:
        self.path = upload.input
        self.each = upload.each
        self.mark = f"the picture of upload {number}"
        self.pictures = [_read(path) for path in upload.files] or [_made(*upload.size)]
        self.slots = _Slots()
        self.sent: dict[tuple[str, str], gevent.event.AsyncResult] = {}

    def once(self, target: Target, picture: Picture) -> tuple[str, int] | Failure:
        """The name of a picture that all share; who comes while it is on its way waits for it, or fails with it."""
        key = (target.url, picture.digest)
        if key in self.sent:
            name: str | Failure = self.sent[key].get()
            return name if isinstance(name, Failure) else (name, 0)
        shared = self.sent[key] = gevent.event.AsyncResult()
        sent: tuple[str, int] | Failure = Failure(FailureKind.RESET, "the upload was broken off")
        try:
            sent = _upload(target, f"{picture.digest}{picture.suffix}", picture.content, overwrite=False)
            return sent
        finally:
            if isinstance(sent, Failure) and self.sent.get(key) is shared:
                del self.sent[key]
            shared.set(sent if isinstance(sent, Failure) else sent[0])


def _upload(target: Target, name: str, content: bytes, *, overwrite: bool) -> tuple[str, int] | Failure:
    fields = {"type": "input", "subfolder": SUBFOLDER, "overwrite": "true" if overwrite else "false"}
    sent = form(name, content, fields)
    answer = target.http.post("/upload/image", sent.body, deadline_s=UPLOAD_DEADLINE_S, content_type=sent.content_type)
    if isinstance(answer, Failure):
        return answer
    stored = parse_upload(answer.status, answer.body)
    if isinstance(stored, Damaged):
        return Failure(FailureKind.STATUS, f"{stored.status} {stored.excerpt}".strip(), answer.status, sent=True)
    return stored.value, len(content)


def _read(path: str) -> Picture:
    try:
        return Picture(Path(path).suffix.lower(), Path(path).read_bytes())
    except OSError as error:
        remedy = "Every machine that makes load needs the pictures at the same path."
        raise ScenarioError(f"the picture {path} cannot be read: {error.strerror}", remedy) from error


def _made(width: int, height: int) -> Picture:
    grains = Image.frombytes("RGB", (_GRAINS, _GRAINS), Random(width * height).randbytes(3 * _GRAINS * _GRAINS))
    file = io.BytesIO()
    grains.resize((width, height), Image.Resampling.BICUBIC).save(file, "PNG", compress_level=1)
    return Picture(".png", file.getvalue())
