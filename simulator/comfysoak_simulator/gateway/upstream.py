"""What one generation does at the ComfyUI behind a gateway, as gateways of either age do it.

A socket, POST /prompt, reading until `executing` without a node, /history, /view of each picture. Nothing is retried,
nothing interrupted, and no wait has a limit: that is what makes a gateway hang.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from comfysoak_simulator.gateway.mapping import Graph

Json = Any
_TAKEN_FROM = frozenset({"SaveImage", "SaveImageAdvanced", "PreviewImage"})


class UpstreamError(Exception):
    """Something at ComfyUI failed; the gateway tells its client that much, or less."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A picture as it came."""

    data: bytes
    content_type: str


class Upstream:
    """One ComfyUI, as the gateway sees it. `old`: as up to 0.8; else as from 0.9 on, with a key, even an empty one."""

    def __init__(self, base_url: str, *, old: bool, api_key: str | None = "") -> None:
        self.base_url = base_url
        self.api_key = api_key
        self._old = old
        self._headers = {} if old or api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._view_headers = self._headers if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()

    async def generate(self, graph: Graph, client_id: str) -> list[Stored | None]:
        """The pictures of a graph, in order. UpstreamError; waits without limit for an end that is never told."""
        try:
            places = await self._run(graph, client_id)
            return [await self._view(place) for place in places]
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
            raise UpstreamError(repr(error)) from error

    async def object_info(self) -> dict[str, Json]:
        """GET /object_info. UpstreamError."""
        try:
            found = await self._get_json("/object_info")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamError(repr(error)) from error
        return found if isinstance(found, dict) else {}

    async def _run(self, graph: Graph, client_id: str) -> list[dict[str, str]]:
        url = f"{self.base_url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        async with self._client().ws_connect(url, headers=self._headers, max_msg_size=0, heartbeat=None) as socket:
            body = orjson.dumps({"prompt": graph, "client_id": client_id}, option=orjson.OPT_NON_STR_KEYS)
            prompt_id = await self._submit(body)
            ended = await _read_to_end(socket, prompt_id)
            if not ended and self._old:
                raise UpstreamError("the socket was lost")
            entry = (await self._get_json(f"/history/{prompt_id}"))[prompt_id]
        return _places_old(entry) if self._old else _places_new(entry, graph)

    async def _submit(self, body: bytes) -> str:
        kind = "application/x-www-form-urlencoded" if self._old else "application/json"
        headers = {**self._headers, "Content-Type": kind}
        async with self._client().post(f"{self.base_url}/prompt", data=body, headers=headers) as answer:
            answer.raise_for_status()
            return str((await answer.json())["prompt_id"])

    async def _get_json(self, path: str) -> Json:
        async with self._client().get(f"{self.base_url}{path}", headers=self._headers) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def _view(self, place: dict[str, str]) -> Stored | None:
        query = {name: str(place.get(name, "")) for name in ("filename", "subfolder", "type")}
        url = f"{self.base_url}/view"
        async with self._client().get(url, params=query, headers=self._view_headers) as answer:
            if answer.status == 200 and answer.content_type.startswith("image/"):
                return Stored(await answer.read(), answer.content_type)
        if self._old:
            return None
        raise UpstreamError("no picture")

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=None)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        return self._session


async def _read_to_end(socket: aiohttp.ClientWebSocketResponse, prompt_id: str) -> bool:
    """Whether the end of the prompt was told; False when the socket ended before. Errors of nodes are not heeded."""
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            said = orjson.loads(message.data)
            data = said.get("data") or {}
            if said.get("type") == "executing" and data.get("node") is None and data.get("prompt_id") == prompt_id:
                return True
    return False


def _places_new(entry: Json, graph: Graph) -> list[dict[str, str]]:
    """The pictures of the classes it knows; others are left out without a word."""
    return [
        place
        for node_id, shown in entry["outputs"].items()
        if graph.get(node_id, {}).get("class_type") in _TAKEN_FROM
        for place in shown.get("images", [])
    ]


def _places_old(entry: Json) -> list[dict[str, str]]:
    """Every node's pictures, and all of them again for each node that has put something out."""
    once = [place for shown in entry["outputs"].values() for place in shown.get("images", [])]
    return once * len(entry["outputs"])
