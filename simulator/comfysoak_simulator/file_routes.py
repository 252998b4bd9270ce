"""The HTTP routes that carry files: /view and /upload."""

from __future__ import annotations

import mimetypes
import posixpath
import re
from io import BytesIO

from aiohttp import web
from PIL import Image, UnidentifiedImageError

from comfysoak_simulator import pictures
from comfysoak_simulator.answers import answer
from comfysoak_simulator.files import FOLDERS, Files, Folder, Place

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class FileRoutes:
    """The handlers of one server's files."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def add_to(self, app: web.Application) -> None:
        """Register all, also under /api."""
        for prefix in ("", "/api"):
            app.router.add_get(f"{prefix}/view", self.view)
            app.router.add_post(f"{prefix}/upload/image", self.upload)
            app.router.add_post(f"{prefix}/upload/mask", self.upload)

    async def view(self, request: web.Request) -> web.Response:
        """GET /view: a file, whole, in part, or turned into another format."""
        place = _wanted(request)
        if isinstance(place, int):
            return web.Response(status=place)
        content = self._files.read(place)
        if content is None:
            return web.Response(status=404)
        kind = mimetypes.guess_type(place.filename)[0] or "application/octet-stream"
        headers = {"Content-Disposition": f'filename="{place.filename}"'}
        changed = _changed(content, request.query.get("preview"), request.query.get("channel"))
        if changed is not None:
            content, kind = changed
        return _part(request, content, {**headers, "Content-Type": kind})

    async def upload(self, request: web.Request) -> web.Response:
        """POST /upload/image and /upload/mask."""
        form = await request.post()
        folder = str(form.get("type", "input"))
        if folder not in FOLDERS:
            raise ValueError(f"unknown type {folder}")
        image = form.get("image")
        if not isinstance(image, web.FileField) or not image.filename:
            return web.Response(status=400)
        subfolder = str(form.get("subfolder", ""))
        path = posixpath.normpath(posixpath.join("/", "files", subfolder, image.filename))
        if posixpath.normpath(posixpath.join("files", subfolder)).startswith("..") or not path.startswith("/files/"):
            return web.Response(status=400)
        overwrite = form.get("overwrite") in ("true", "1")
        place = Place(image.filename, subfolder, _folder(folder))
        stored = self._files.upload(place, image.file.read(), overwrite=overwrite)
        return answer({"name": stored.filename, "subfolder": subfolder, "type": folder})


def _folder(text: str) -> Folder:
    return next(folder for folder in FOLDERS if folder == text)


def _wanted(request: web.Request) -> Place | int:
    """The file a request names; a status where it names none."""
    filename = request.query.get("filename")
    if filename is None:
        return 404
    kind = request.query.get("type", "output")
    for folder in FOLDERS:
        if filename.endswith(f" [{folder}]"):
            filename, kind = filename.removesuffix(f" [{folder}]"), folder
    if not filename:
        return 404
    if filename.startswith("/") or ".." in filename or kind not in FOLDERS:
        return 400
    subfolder = request.query.get("subfolder", "")
    if posixpath.normpath(posixpath.join("files", subfolder)).split("/")[0] != "files" or subfolder.startswith("/"):
        return 403
    inner, _, name = filename.rpartition("/")
    return Place(name, posixpath.join(subfolder, inner) if inner else subfolder, _folder(kind))


def _changed(content: bytes, preview: str | None, channel: str | None) -> tuple[bytes, str] | None:
    """The picture in another format, with its type; None when it is to be left as it is."""
    if preview is None and channel not in ("rgb", "a"):
        return None
    try:
        image = Image.open(BytesIO(content))
    except UnidentifiedImageError:
        return None
    with image:
        if preview is not None:
            name, _, quality = preview.partition(";")
            kind: pictures.Format = "JPEG" if name == "jpeg" else "WEBP"
            encoded = pictures.encode(image.convert("RGB"), kind, quality=int(quality) if quality.isdigit() else 90)
            return encoded, f"image/{kind.lower()}"
        if channel == "rgb":
            return pictures.encode(image.convert("RGB"), "PNG"), "image/png"
        alpha = Image.new("RGBA", image.size)
        alpha.putalpha(image.convert("RGBA").getchannel("A"))
        return pictures.encode(alpha, "PNG"), "image/png"


def _part(request: web.Request, content: bytes, headers: dict[str, str]) -> web.Response:
    headers["Accept-Ranges"] = "bytes"
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if asked is None or not (asked[1] or asked[2]):
        return web.Response(body=content, headers=headers)
    size = len(content)
    start = int(asked[1]) if asked[1] else max(size - int(asked[2]), 0)
    end = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
    if start > end:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return web.Response(status=206, body=content[start : end + 1], headers=headers)
