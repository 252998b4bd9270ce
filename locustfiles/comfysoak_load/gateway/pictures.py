"""The pictures of an answer: fetched or decoded, and looked at. A 200 is not a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from comfysoak_core.codes import Code
from comfysoak_core.gateway.answers import Broken, Inline, Picture, place_of
from comfysoak_core.gateway.life import Checked
from comfysoak_core.outputs.check import problem_of
from comfysoak_core.outputs.expected import Expected
from comfysoak_core.outputs.pictures import FORMATS
from comfysoak_load.edge.failures import Failure
from comfysoak_load.gateway.edge import GatewayEdge
from comfysoak_load.prompts.outputs import Checked as Tally
from comfysoak_load.prompts.outputs import run_of

_MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp", b"GIF8": "gif", b"BM": "bmp"}
_OK = 200


def checked_pictures(
    edge: GatewayEdge, gateway_url: str, pictures: Sequence[Picture], size: tuple[int, int] | None
) -> Checked:
    """All of them, one after the other as a browser shows them; what is wrong with the first that is not right."""
    expected = Expected() if size is None else Expected(width=size[0], height=size[1])
    tally = Tally()
    for index, picture in enumerate(pictures, 1):
        data, problem = _data_of(edge, gateway_url, picture)
        code = Code.OUTPUT_MISSING
        if data is not None:
            tally.received += 1
            tally.size_bytes += len(data)
            problem, code = _problem(data, expected), Code.OUTPUT_WRONG
        tally.note(None if problem is None else f"picture {index} of {len(pictures)}: {problem}", code)
    return Checked(tally.received, tally.size_bytes, tally.problem, None if tally.problem is None else tally.code)


def _data_of(edge: GatewayEdge, gateway_url: str, picture: Picture) -> tuple[bytes | None, str | None]:
    """Its bytes, or why there are none."""
    if isinstance(picture, Inline):
        return picture.data, None
    if isinstance(picture, Broken):
        return None, picture.reason
    place = place_of(picture, gateway_url)
    if place is None:
        return None, "its url leads nowhere"
    answer = edge.picture(place)
    if isinstance(answer, Failure):
        return None, f"{_shown(place)}: {answer}"
    if answer.status != _OK:
        return None, f"{_shown(place)}: HTTP {answer.status}"
    return answer.body, None


def _shown(url: str) -> str:
    """Without its query, which may be a signature."""
    name = PurePosixPath(urlsplit(url).path).name
    return name[:80] or "its url"


def _problem(data: bytes, expected: Expected) -> str | None:
    """Why these bytes are no picture of that size. What they say they are by their first bytes, they must be."""
    extension = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    if extension is None or extension not in FORMATS:
        return problem_of("picture.png", data, expected)  # it says what this is instead
    return problem_of(f"picture.{extension}", data, expected, run_of(data))
