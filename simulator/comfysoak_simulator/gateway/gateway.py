"""The gateway on its port: routes, authorisation, and its own way of telling what went wrong."""

from __future__ import annotations

import os
import random
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import orjson
from aiohttp import web
from pydantic import ValidationError

from comfysoak_core.errors import ScenarioError
from comfysoak_core.gateway.api import ApiName
from comfysoak_core.scenario.embedded import EmbeddedGateway
from comfysoak_simulator.gateway.administration import (
    ConfigurationError,
    Elsewhere,
    image_configuration_old,
    image_updated_old,
)
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
ADMINISTRATOR_ID = "admin-1"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Person:
    """Who brings a token."""

    id: str
    role: str = "user"
    may_make_pictures: bool = True


@dataclass
class Settings:
    """What its administrator has set. `token`: who wants pictures must bring it; None: anybody may ask."""

    defaults: Defaults
    api_key: str = ""  # ComfyUI's
    token: str | None = None
    email: str = ""
    password: str = ""
    enabled: bool = True
    engine: str = "comfyui"
    others: Mapping[str, Person] = field(default_factory=dict)  # by token: people besides the administrator
    elsewhere: Elsewhere = field(default_factory=Elsewhere)


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
        self._is_old = api == "open-webui-old"
        self._upstream = Upstream(comfyui, old=self._is_old, api_key=settings.api_key)
        self._former: list[Upstream] = []  # that requests may still wait for
        self._numbers = random.Random()
        self._stored: OrderedDict[str, Stored] = OrderedDict()
        self._owners: dict[str, str] = {}
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
            app.router.add_post(f"{shape.config}/update", self._update)
            app.router.add_get(shape.models, self._models)
            app.router.add_get("/api/v1/auths/", self._session)
            app.router.add_get("/api/version", self._version)
        if shape.image_config is not None:
            app.router.add_get(shape.image_config, self._image_config)
            app.router.add_post(f"{shape.image_config}/update", self._update_image_config)
        if shape.file is not None:
            app.router.add_get(shape.file, self._file_itself)
            app.router.add_delete(shape.file, self._delete_file)
        if shape.verify is not None:
            app.router.add_route(shape.verify_method, shape.verify, self._verify)
        # a client that gives up changes nothing: no handler is cancelled
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port, backlog=1024, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End at once."""
        for upstream in (self._upstream, *self._former):
            await upstream.close()  # or requests that wait without limit would be waited for
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
        person = self._admit(request)
        asked = await _asked(request)
        may = self.settings.enabled and person.may_make_pictures
        if not may and not self._shape.forgets_to_check:
            raise TroubleError(403, self._shape.not_permitted)
        defaults = self.settings.defaults
        usual = defaults.size if "x" in defaults.size else "512x512"
        size = asked.size if asked.size and "x" in asked.size and not self._shape.ignores_size else usual
        steps = asked.steps if asked.steps is not None and not self._shape.ignores_size else defaults.steps
        try:
            graph = graph_of(defaults, asked, size, steps, self._numbers)
            pictures = await self._upstream.generate(graph, self._client_id(person))
        except MappingError as error:
            raise TroubleError(400, self._shape.failed(str(error))) from error
        except UpstreamError as error:
            raise TroubleError(400, self._shape.failed(None)) from error
        kept = [(picture, self._keep(picture, person)) for picture in pictures]
        return json_answer(self._shape.listed(kept, asked, self.url))

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info["id"].partition(".")[0]
        if self._shape.files_need_token:
            found = self._own(request, name)
        elif name in self._stored:
            found = self._stored[name]
        else:
            raise TroubleError(404, "Not Found")
        return web.Response(body=found.data, content_type=found.content_type)

    async def _file_itself(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        self._own(request, name)
        return json_answer({"id": name, "user_id": self._owners[name], "filename": "generated-image.png"})

    async def _delete_file(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        self._stored_bytes -= len(self._own(request, name).data)
        del self._stored[name], self._owners[name]
        return json_answer({"message": "File deleted successfully"})

    def _own(self, request: web.Request, name: str) -> Stored:
        """A file that this person may see: other people's are as if they were not there."""
        person = self._admit(request)
        found = self._stored.get(name)
        if found is None or (person.role != "admin" and self._owners[name] != person.id):
            raise TroubleError(404, self._shape.not_found)
        return found

    async def _sign_in(self, request: web.Request) -> web.Response:
        said = orjson.loads(await request.read())
        given = (said.get("email"), said.get("password"))
        if given != (self.settings.email, self.settings.password):
            raise TroubleError(400, self._shape.wrong_sign_in)
        token = self.settings.token or ""
        return json_answer({"id": ADMINISTRATOR_ID, "role": "admin", "token": token, "token_type": "Bearer"})

    async def _session(self, request: web.Request) -> web.Response:
        person = self._admit(request)
        return json_answer({"id": person.id, "role": person.role, "email": f"{person.id}@localhost", "name": person.id})

    async def _version(self, _request: web.Request) -> web.Response:
        return json_answer({"version": self._shape.version})

    async def _config(self, request: web.Request) -> web.Response:
        self._admit_administrator(request)
        return json_answer(self._shape.configuration(self.settings, self._upstream.base_url))

    async def _update(self, request: web.Request) -> web.Response:
        self._admit_administrator(request)
        assert self._shape.updated is not None  # noqa: S101  # or this were no route
        updated, body = self._shape.updated, await request.read()
        written = _checked(lambda: updated(self.settings, body))
        self._take_settings(written.settings)
        if written.base_url != self._upstream.base_url or written.settings.api_key != self._upstream.api_key:
            self._former.append(self._upstream)
            self._upstream = Upstream(written.base_url, old=self._is_old, api_key=self.settings.api_key)
        return json_answer(self._shape.configuration(self.settings, self._upstream.base_url))

    async def _image_config(self, request: web.Request) -> web.Response:
        self._admit_administrator(request)
        return json_answer(image_configuration_old(self.settings))

    async def _update_image_config(self, request: web.Request) -> web.Response:
        self._admit_administrator(request)
        body = await request.read()
        self._take_settings(_checked(lambda: image_updated_old(self.settings, body)))
        return json_answer(image_configuration_old(self.settings))

    def _take_settings(self, settings: Settings) -> None:
        """In the place of those there were: whoever holds them sees the change."""
        self.settings.__dict__.update(settings.__dict__)

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
        self._admit_administrator(request)
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

    def _admit(self, request: web.Request) -> Person:
        token = self.settings.token
        if token is None:
            return _ADMINISTRATOR
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not given:
            raise TroubleError(self._shape.without_token, "Not authenticated")
        person = _ADMINISTRATOR if given == token else self.settings.others.get(given)
        if person is None:
            raise TroubleError(401, self._shape.unknown_bearer if given.startswith("sk-") else "401 Unauthorized")
        return person

    def _admit_administrator(self, request: web.Request) -> None:
        if self._admit(request).role != "admin":
            raise TroubleError(401, self._shape.not_permitted)

    def _client_id(self, person: Person) -> str:
        """Old gateways give ComfyUI the id of the user: of requests at once all but one never hear of their end."""
        return person.id if self._shape.shares_client_id else self.new_id()

    def _switch_off_if_old(self) -> None:
        if self._shape.forgets_to_check:
            self.settings.enabled = False

    def _keep(self, picture: Stored | None, person: Person) -> str | None:
        if picture is None:
            return None
        name = self.new_id()
        self._stored[name] = picture
        self._owners[name] = person.id
        self._stored_bytes += len(picture.data)
        while self._stored_bytes > MOST_STORED_BYTES and len(self._stored) > 1:
            oldest, gone = self._stored.popitem(last=False)
            self._stored_bytes -= len(gone.data)
            del self._owners[oldest]
        return name


_ADMINISTRATOR = Person(ADMINISTRATOR_ID, role="admin")
T = TypeVar("T")


async def _asked(request: web.Request) -> Request:
    body = await request.read()
    return _checked(lambda: Request.model_validate_json(body))


def _checked(read: Callable[[], T]) -> T:
    """What is read of a body; 422 with every complaint, or 400 with words, where it is not what it should be."""
    try:
        return read()
    except ConfigurationError as error:
        raise TroubleError(400, str(error)) from error
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
