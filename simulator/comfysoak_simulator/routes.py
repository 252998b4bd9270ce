"""The HTTP routes of a server: each a few lines around the engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web

from comfysoak_simulator import facts, jobs
from comfysoak_simulator.answers import answer, body_of
from comfysoak_simulator.engine import Engine
from comfysoak_simulator.machine import Machine
from comfysoak_simulator.metrics import as_prometheus_text
from comfysoak_simulator.models import FOLDERS, NEWER_FOLDERS

Json = Any
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DISABLED = {
    "error": {
        "code": "SERVICE_DISABLED",
        "message": "Assets system is disabled. Start the server with --enable-assets to use this feature.",
        "details": {},
    }
}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>ComfySoak simulator</title>
<h1>ComfySoak simulator</h1><p>A simulated ComfyUI server: the API is here, the editor is not.</p></html>"""


class Asked(Protocol):
    """The server as its routes see it."""

    machine: Machine
    engine: Engine
    argv: list[str]
    log_readers: set[str]  # client ids that get each new line of the log

    def stir(self) -> None:
        """Something was asked of the engine."""

    def object_info(self) -> dict[str, Json]:
        """The answer to GET /object_info."""


class Routes:
    """The handlers of one server."""

    def __init__(self, server: Asked) -> None:
        self._server = server

    def add_to(self, app: web.Application) -> None:
        """Register all; each also under /api, those of /internal and /metrics apart."""
        doubled: list[tuple[str, str, Handler]] = [
            ("GET", "/prompt", self._get_prompt),
            ("POST", "/prompt", self._post_prompt),
            ("GET", "/queue", self._get_queue),
            ("POST", "/queue", self._post_queue),
            ("GET", "/history", self._get_history),
            ("GET", "/history/{id}", self._get_history_of),
            ("POST", "/history", self._post_history),
            ("POST", "/interrupt", self._post_interrupt),
            ("POST", "/free", self._post_free),
            ("GET", "/system_stats", self._get_system_stats),
            ("GET", "/object_info", self._get_object_info),
            ("GET", "/object_info/{name}", self._get_object_info_of),
            ("GET", "/features", self._get_features),
            ("GET", "/models", self._get_models),
            ("GET", "/models/{folder}", self._get_models_of),
            ("GET", "/embeddings", self._get_embeddings),
            ("GET", "/extensions", _empty_list),
            ("GET", "/users", self._get_users),
            ("GET", "/settings", _empty_object),
            ("GET", "/view_metadata/{folder}", _not_found),
            *self._newer(),
        ]
        for method, path, handler in doubled:
            _add(app, method, path, handler)
            _add(app, method, f"/api{path}", handler)
        single: list[tuple[str, str, Handler]] = [
            ("GET", "/", _page),
            ("GET", "/internal/logs", self._get_logs),
            ("GET", "/internal/logs/raw", self._get_raw_logs),
            ("PATCH", "/internal/logs/subscribe", self._subscribe_logs),
            ("GET", "/metrics", self._get_metrics),
            *self._newer_single(),
        ]
        for method, path, handler in single:
            _add(app, method, path, handler)
        app.router.add_get("/{tail:.*}", _not_found)  # so that other methods of an unknown path are 405, as there

    @property
    def _is_newer(self) -> bool:
        return self._server.machine.embedded.version == "0.33.0"

    def _newer(self) -> list[tuple[str, str, Handler]]:
        if not self._is_newer:
            return []
        return [
            ("GET", "/node_replacements", self._get_node_replacements),
            ("GET", "/global_subgraphs", _empty_object),
            ("GET", "/workflow_templates", _empty_object),
            ("GET", "/experiment/models", self._get_model_folders),
        ]

    def _newer_single(self) -> list[tuple[str, str, Handler]]:
        if not self._is_newer:
            return []
        return [
            ("GET", "/api/jobs", self._get_jobs),
            ("GET", "/api/jobs/{id}", self._get_job),
            ("POST", "/api/jobs/cancel", self._cancel_jobs),
            ("POST", "/api/jobs/{id}/cancel", self._cancel_job),
            ("GET", "/api/assets", _disabled),
            ("GET", "/api/assets/{id}", _disabled),
            ("GET", "/api/tags", _disabled),
            ("GET", "/assets", _forbidden),
            ("GET", "/internal/folder_paths", self._get_folder_paths),
        ]

    # --- prompts ----------------------------------------------------------------------------------------------

    async def _get_prompt(self, _request: web.Request) -> web.Response:
        return answer(self._server.engine.queue_info)

    async def _post_prompt(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        try:
            status, value = self._server.engine.submit(body, request.headers.get("Comfy-Usage-Source"))
        finally:
            self._server.stir()  # a prompt may be in the queue although its answer is an error
        return answer(value, status)

    async def _get_queue(self, _request: web.Request) -> web.Response:
        queue = self._server.engine.queue
        running = [queue.running.as_json()] if queue.running is not None else []
        return answer({"queue_running": running, "queue_pending": [item.as_json() for item in queue.pending]})

    async def _post_queue(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        queue = self._server.engine.queue
        if isinstance(body, dict) and body.get("clear"):
            queue.clear()
        if "delete" in body:
            for prompt_id in body["delete"]:
                queue.delete(prompt_id)
        return _done()

    async def _get_history(self, request: web.Request) -> web.Response:
        most, offset = request.query.get("max_items"), request.query.get("offset")
        page = self._server.engine.queue.history_page(
            None if most is None else int(most), -1 if offset is None else int(offset)
        )
        return answer(page)

    async def _get_history_of(self, request: web.Request) -> web.Response:
        return answer(self._server.engine.queue.history_of(request.match_info["id"]))

    async def _post_history(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        history = self._server.engine.queue.history
        if isinstance(body, dict) and body.get("clear"):
            history.clear()
        if "delete" in body:
            for prompt_id in body["delete"]:
                history.pop(prompt_id, None)
        return _done()

    async def _post_interrupt(self, request: web.Request) -> web.Response:
        try:
            body = await body_of(request)
        except ValueError:
            body = {}
        self._server.engine.interrupt(body.get("prompt_id"))
        self._server.stir()
        return _done()

    async def _post_free(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        self._server.engine.free(
            unload_models=bool(body.get("unload_models", False)), free_memory=bool(body.get("free_memory", False))
        )
        self._server.stir()
        return _done()

    # --- jobs (0.33) ------------------------------------------------------------------------------------------

    async def _get_jobs(self, request: web.Request) -> web.Response:
        try:
            return answer(jobs.jobs(self._server.engine.queue, request.query))
        except jobs.BadQueryError as error:
            return answer({"error": str(error)}, 400)

    async def _get_job(self, request: web.Request) -> web.Response:
        found = jobs.job(self._server.engine.queue, request.match_info["id"])
        return answer({"error": "Job not found"}, 404) if found is None else answer(found)

    async def _cancel_job(self, request: web.Request) -> web.Response:
        return answer({"cancelled": self._cancelled([request.match_info["id"]])})

    async def _cancel_jobs(self, request: web.Request) -> web.Response:
        try:
            body = await body_of(request)
        except ValueError:
            return answer({"error": "Request body must be valid JSON"}, 400)
        try:
            wanted = jobs.ids_to_cancel(body)
        except jobs.BadQueryError as error:
            return answer(error.as_json(), 400)
        return answer({"cancelled": self._cancelled(wanted)})

    def _cancelled(self, prompt_ids: list[str]) -> bool:
        cancelled = [self._server.engine.cancel(prompt_id) for prompt_id in prompt_ids]
        self._server.stir()
        return any(cancelled)

    # --- the server about itself ------------------------------------------------------------------------------

    async def _get_system_stats(self, _request: web.Request) -> web.Response:
        return answer(facts.system_stats(self._server.machine, self._server.argv))

    async def _get_object_info(self, _request: web.Request) -> web.Response:
        return answer(self._server.object_info())

    async def _get_object_info_of(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        info = self._server.object_info().get(name)
        return answer({} if info is None else {name: info})

    async def _get_features(self, _request: web.Request) -> web.Response:
        return answer(facts.features(self._server.machine))

    async def _get_models(self, _request: web.Request) -> web.Response:
        return answer([folder for folder in FOLDERS if self._is_newer or folder not in NEWER_FOLDERS])

    async def _get_models_of(self, request: web.Request) -> web.Response:
        folder = request.match_info["folder"]
        if folder not in FOLDERS:
            return web.Response(status=404)
        return answer(self._server.machine.models.names(folder))

    async def _get_embeddings(self, _request: web.Request) -> web.Response:
        return answer([name.rsplit(".", 1)[0] for name in self._server.machine.models.names("embeddings")])

    async def _get_users(self, _request: web.Request) -> web.Response:
        return answer({"storage": "server", "migrated": False})

    async def _get_node_replacements(self, _request: web.Request) -> web.Response:
        return answer(self._server.machine.catalogue.replacements)

    async def _get_folder_paths(self, _request: web.Request) -> web.Response:
        return answer({folder: [f"/comfyui/models/{folder}"] for folder in FOLDERS})

    async def _get_model_folders(self, _request: web.Request) -> web.Response:
        kinds = [".ckpt", ".pt", ".pth", ".safetensors"]
        folders = [{"name": name, "folders": [f"/comfyui/models/{name}"], "extensions": kinds} for name in FOLDERS]
        return answer(folders)

    async def _get_logs(self, _request: web.Request) -> web.Response:
        return answer("".join(f"{line.time} - {line.text}" for line in self._server.machine.log.lines))

    async def _get_raw_logs(self, _request: web.Request) -> web.Response:
        entries = [line.as_json() for line in self._server.machine.log.lines]
        return answer({"entries": entries, "size": {"cols": 80, "rows": 24}})

    async def _subscribe_logs(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        client_id, enabled = body["clientId"], body["enabled"]
        (self._server.log_readers.add if enabled else self._server.log_readers.discard)(client_id)
        return _done()

    async def _get_metrics(self, _request: web.Request) -> web.Response:
        machine = self._server.machine
        if machine.gpu is None:
            return web.Response(text="# This server runs on its CPU.\n")
        return web.Response(text=as_prometheus_text(machine.gpu, machine.index, machine.clock.now_ns()))


def _add(app: web.Application, method: str, path: str, handler: Handler) -> None:
    if method == "GET":
        app.router.add_get(path, handler)  # and HEAD
    else:
        app.router.add_route(method, path, handler)


def _done() -> web.Response:
    return web.Response(status=200)


async def _empty_list(_request: web.Request) -> web.Response:
    return answer([])


async def _empty_object(_request: web.Request) -> web.Response:
    return answer({})


async def _not_found(_request: web.Request) -> web.Response:
    return web.Response(status=404)


async def _disabled(_request: web.Request) -> web.Response:
    return answer(_DISABLED, 503)


async def _forbidden(_request: web.Request) -> web.Response:
    return web.Response(status=403, text="403: Forbidden")


async def _page(_request: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")
