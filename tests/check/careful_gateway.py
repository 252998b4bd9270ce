"""A gateway that does what the remedies ask for: deadlines, history, statuses and words for each cause."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson

from comfysoak_simulator.gateway.shapes import TroubleError
from comfysoak_simulator.gateway.upstream import Stored, Upstream

WITHIN_S = 1.5
SILENCE_S = 0.15


class CarefulUpstream(Upstream):
    """In the place of the one that waits without limit and names no cause."""

    async def generate(self, graph: dict[str, Any], client_id: str) -> list[Stored | None]:
        """The pictures, or what kept them away."""
        try:
            async with asyncio.timeout(WITHIN_S):
                entry = await self._ended(graph, client_id)
                self._check(entry)
                shown = [place for output in entry["outputs"].values() for place in output.get("images", [])]
                return [await self._view(place) for place in shown]
        except TimeoutError:
            raise TroubleError(504, "ComfyUI does not answer in time") from None
        except (aiohttp.ClientError, OSError):
            raise TroubleError(503, "ComfyUI is away") from None

    async def _ended(self, graph: dict[str, Any], client_id: str) -> Any:
        url = f"{self.base_url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        async with self._client().ws_connect(url, headers=self._headers) as socket:
            body = orjson.dumps({"prompt": graph, "client_id": client_id})
            async with self._client().post(f"{self.base_url}/prompt", data=body, headers=self._headers) as answer:
                if answer.status == 400:
                    raise TroubleError(500, "the workflow of the platform is broken")
                answer.raise_for_status()
                prompt_id = (await answer.json())["prompt_id"]
            while True:
                try:
                    message = await socket.receive(SILENCE_S)
                except TimeoutError:
                    message = None
                if message is None or message.type is not aiohttp.WSMsgType.TEXT:
                    await asyncio.sleep(0.02)
                found = await self._get_json(f"/history/{prompt_id}")
                if prompt_id in found:
                    return found[prompt_id]

    def _check(self, entry: Any) -> None:
        """What a node said of its failure."""
        for kind, data in entry["status"]["messages"]:
            if kind == "execution_error":
                memory = "memory" in data["exception_message"]
                raise TroubleError(500, "it is too large for the memory" if memory else "a node of the workflow failed")
