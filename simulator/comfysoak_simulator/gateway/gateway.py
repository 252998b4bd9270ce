"""The gateway on its port: routes, authorisation, and its own way of telling what went wrong."""

from __future__ import annotations

import os
import random
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson
from aiohttp import web
from pydantic import ValidationError

from comfysoak_core.errors import ScenarioError
from comfysoak_core.gateway.api import ApiName
from comfysoak_core.scenario.embedded import EmbeddedGateway
from comfysoak_simulator.gateway.mapping import (
    BUILT_IN_NODES,
    BUILT_IN_WORKFLOW,
    Defaults,
    Graph,
    MappingError,
    Request,
    graph_of,
)
from comfysoak_simulator.gateway.shapes import SHAPES, Shape, TroubleError, json_answer
from comfysoak_simulator.gateway.upstream import Stored, Upstream, UpstreamError

MOST_STORED_BYTES = 256 * 1024**2
SHUTDOWN_S = 0.1  # of requests that wait for a ComfyUI without limit; 0 would be no limit
USER_ID = "admin-1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Settings:
    """What its administrator has set. `token`: who wants pictures must bring it; None: anybody may ask."""

    defaults: Defaults
    api_key: str = ""  # ComfyUI's
    token: str | None = None
    email: str = ""
    password: str = ""
    enabled: bool = True


def settings_of(written: EmbeddedGateway) -> Settings:
    """As a scenario has it. ScenarioError when the variable of its token is empty."""
    defaults = Defaults(
        orjson.dumps(BUILT_IN_WORKFLOW if written.workflow is None else written.workflow).decode(),
        BUILT_IN_NODES if written.nodes is None and written.workflow is None else written.nodes or [],
        written.model,
        written.size,
        written.steps,
    )
    token = os.environ.get(written.token_variable, "") if written.token_variable is not None else None
    if token == "":
        raise ScenarioError(f"{written.token_variable} is not set", f"export {written.token_variable}=...")
    return Settings(defaults, token=token)


class Gateway:
    """A gateway in front of the ComfyUI at `comfyui`. `start` before use, `stop` at the end, both in one loop."""

    def __init__(
        self, comfyui: str, settings: Settings, *, api: ApiName = "open-webui", host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.settings = settings
        self.host = host
        self.port = port  # the real one after `start`
        self.new_id: Callable[[], str] = lambda: str(uuid.uuid4())
        self._shape: Shape = SHAPES[api]
        self._upstream = Upstream(comfyui, old=api == "open-webui-old", api_key=settings.api_key)
        self._numbers = random.Random()
        self._stored: OrderedDict[str, Stored] = OrderedDict()
        self._stored_bytes = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def start(self) -> None:
        """Listen."""
        app = web.Application(middlewares=[self._around])
        shape = self._shape
        app.router.add_get("/health", self._health)
        app.router.add_post(shape.generations, self._generate)
        app.router.add_get(shape.file_route, self._file)
        app.router.add_post("/api/v1/auths/signin", self._sign_in)
        if shape.config is not None:
            app.router.add_get(shape.config, self._config)
            app.router.add_get(shape.models, self._models)
        if shape.verify is not None:
            app.router.add_route(shape.verify_method, shape.verify, self._verify)
        # a client that gives up changes nothing: no handler is cancelled
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, backlog=1024, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End at once."""
        await self._upstream.close()  # or requests that wait without limit would be waited for
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except TroubleError as trouble:
            return self._shape.trouble(trouble)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001  # whatever it is: that is how such a gateway answers
            response = web.Response(status=500, text="Internal Server Error")
            response.force_close()
            return response

    # --- routes -------------------------------------------------------------------------------------------------

    async def _health(self, _request: web.Request) -> web.Response:
        return json_answer({"status": True})

    async def _generate(self, request: web.Request) -> web.Response:
        self._admit(request)
        asked = await _asked(request)
        if not self.settings.enabled and not self._shape.forgets_to_check:
            raise TroubleError(403, self._shape.not_permitted)
        defaults = self.settings.defaults
        size = asked.size if asked.size and "x" in asked.size and not self._shape.ignores_size else defaults.size
        steps = asked.steps if asked.steps is not None and not self._shape.ignores_size else defaults.steps
        try:
            graph = graph_of(defaults, asked, size, steps, self._numbers)
            pictures = await self._upstream.generate(graph, self._client_id())
        except MappingError as error:
            raise TroubleError(400, self._shape.failed(str(error))) from error
        except UpstreamError as error:
            raise TroubleError(400, self._shape.failed(None)) from error
        kept = [(picture, self._keep(picture)) for picture in pictures]
        return json_answer(self._shape.listed(kept, asked, self.url))

    async def _file(self, request: web.Request) -> web.Response:
        if self._shape.files_need_token:
            self._admit(request)
        found = self._stored.get(request.match_info["id"].partition(".")[0])
        if found is None:
            raise TroubleError(404, "Not Found")
        return web.Response(body=found.data, content_type=found.content_type)

    async def _sign_in(self, request: web.Request) -> web.Response:
        said = orjson.loads(await request.read())
        given = (said.get("email"), said.get("password"))
        if given != (self.settings.email, self.settings.password):
            raise TroubleError(400, self._shape.wrong_sign_in)
        return json_answer({"id": USER_ID, "role": "admin", "token": self.settings.token or "", "token_type": "Bearer"})

    async def _config(self, request: web.Request) -> web.Response:
        self._admit(request)
        return json_answer(self._shape.configuration(self.settings, self._upstream.base_url))

    async def _models(self, request: web.Request) -> web.Response:
        self._admit(request)
        try:
            info = await self._upstream.object_info()
            graph: Graph = orjson.loads(self.settings.defaults.workflow)
            names = _model_names(info, graph, self.settings.defaults.nodes)
        except (UpstreamError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._switch_off_if_old()
            raise TroubleError(400, self._shape.models_failed(str(error))) from error
        return json_answer([{"id": name, "name": name} for name in names])

    async def _verify(self, request: web.Request) -> web.Response:
        self._admit(request)
        upstream = self._upstream
        if request.method == "POST":
            said = orjson.loads(await request.read())
            upstream = Upstream(str(said.get("url", "")).rstrip("/"), old=False, api_key=said.get("key"))
        try:
            await upstream.object_info()
        except UpstreamError as error:
            self._switch_off_if_old()
            raise TroubleError(400, self._shape.url_is_wrong) from error
        finally:
            if upstream is not self._upstream:
                await upstream.close()
        return json_answer(True)  # noqa: FBT003  # the answer's whole body

    # --- parts --------------------------------------------------------------------------------------------------

    def _admit(self, request: web.Request) -> None:
        token = self.settings.token
        if token is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not given:
            raise TroubleError(self._shape.without_token, "Not authenticated")
        if given != token:
            raise TroubleError(401, self._shape.unknown_bearer if given.startswith("sk-") else "401 Unauthorized")

    def _client_id(self) -> str:
        """Old gateways give ComfyUI the id of the user: of requests at once all but one never hear of their end."""
        return USER_ID if self._shape.shares_client_id else self.new_id()

    def _switch_off_if_old(self) -> None:
        if self._shape.forgets_to_check:
            self.settings.enabled = False

    def _keep(self, picture: Stored | None) -> str | None:
        if picture is None:
            return None
        name = self.new_id()
        self._stored[name] = picture
        self._stored_bytes += len(picture.data)
        while self._stored_bytes > MOST_STORED_BYTES and len(self._stored) > 1:
            self._stored_bytes -= len(self._stored.popitem(last=False)[1].data)
        return name


async def _asked(request: web.Request) -> Request:
    try:
        return Request.model_validate_json(await request.read())
    except ValidationError as error:
        complaints = [
            {"type": found["type"], "loc": ["body", *found["loc"]], "msg": found["msg"], "input": found["input"]}
            for found in error.errors(include_url=False, include_context=False)
        ]
        raise TroubleError(422, complaints) from error


def _model_names(info: dict[str, object], graph: Graph, nodes: list[dict[str, object]]) -> list[str]:
    """What the mapped model node offers, else CheckpointLoaderSimple."""
    mapped = next((node for node in nodes if node["type"] == "model"), None)
    ids = mapped.get("node_ids") if mapped is not None else None
    node_class = graph[str(ids[0])]["class_type"] if isinstance(ids, list) and ids else "CheckpointLoaderSimple"
    described = info[node_class]
    required = described["input"]["required"] if isinstance(described, dict) else {}
    key = next(name for name in required if name.endswith("_name"))
    return [str(name) for name in required[key][0]]
