"""The rows about a request that was sent: what came into the graph, what came back, and who may fetch it."""

from __future__ import annotations

from collections.abc import Iterator

from comfysoak.check.checking import failed, ok, skipped, warning
from comfysoak.check.parts.gateway import judging
from comfysoak.check.parts.gateway.arrival import Way
from comfysoak.check.parts.gateway.door import Who, status_of
from comfysoak.check.parts.gateway.layout import handed_over, output_nodes
from comfysoak.check.parts.gateway.pictures import fetch, fetched, is_at_gateway, made_by_comfyui
from comfysoak.check.parts.gateway.visit import Visit
from comfysoak.check.row import Row
from comfysoak_core.codes import Code
from comfysoak_core.gateway.answers import Generated, Inline, Link, place_of


def rows_of_request(visit: Visit) -> Iterator[Row]:
    """The rows about the request that was sent, and about its pictures."""
    yield _fields(visit)
    came = visit.first.came if visit.first is not None else None
    if visit.first is None or not isinstance(came, Generated) or not came.pictures:
        for id_ in ("gateway.count", "gateway.download", "gateway.private"):
            yield skipped(id_, "no picture was made: see gateway.generates")
        return
    yield _count(visit)
    yield _download(visit, came)
    yield _private(visit, came)


def _fields(visit: Visit) -> Row:
    id_ = "gateway.fields"
    first = visit.first
    if first is None:
        return skipped(id_, "no request was sent: see gateway.generates")
    if visit.behind is None:
        return skipped(id_, "the ComfyUI behind it cannot be asked: name the one it uses, as http://HOST:8188")
    if first.trace is None:
        return _not_seen(visit, has_pictures=bool(first.count))
    wish = first.wish
    size = f", size {wish.size[0]}x{wish.size[1]}" if wish.size is not None else ""
    ignored = ""
    if visit.layout.ignores_size:
        known = f" ({visit.default_size})" if visit.default_size else ""
        ignored = f". A request's size is ignored by this version, by design: IMAGE_SIZE is used{known}"
    return judging.fields_row(visit.arrived(), f"asked for n {wish.n}{size}", visit.told_elsewhere(), ignored)


def _not_seen(visit: Visit, *, has_pictures: bool) -> Row:
    """ComfyUI shows no prompt with our text."""
    id_, behind = "gateway.fields", visit.behind
    url = behind.url if behind is not None else ""
    if not has_pictures:
        return skipped(id_, "the request did not come to ComfyUI: see gateway.generates")
    if behind is not None and behind.strangers():
        what = f"a prompt came to {url} without the text that was asked for: the prompt is not mapped, or wrongly"
        return failed(
            id_, what, 'Map it: {"type": "prompt", "key": "text", "node_ids": ["6"]}, key and id as in yours.'
        )
    what = f"pictures came, and {url} knows no such prompt: the gateway uses another ComfyUI"
    return failed(id_, what, "Name the ComfyUI that it uses, as it can be reached from here: comfysoak check URL ...")


def _count(visit: Visit) -> Row:
    first = visit.first
    assert first is not None  # noqa: S101  # the caller looked
    trace, graph = first.trace, visit.first_graph
    if trace is None or graph is None or trace.entry is None:
        if first.count % max(first.wish.n, 1) == 0:
            return ok("gateway.count", f"{first.count} came where {first.wish.n} were asked for")
        what = f"{first.count} came where {first.wish.n} were asked for"
        return warning("gateway.count", what, "Is n mapped to what makes the batch?")
    nodes = [file.node_id for file in trace.entry.files if file.kind == "images"]
    made = handed_over(visit.layout, {node_id: str(node["class_type"]) for node_id, node in graph.items()}, nodes)
    n_arrived = first.wish.n == 1 or any(one.field == "n" and one.way is Way.ARRIVED for one in visit.arrived())
    with_output = len(set(nodes)) or len(output_nodes(graph))
    return judging.count_row(first.count, made, first.wish.n, n_arrived, with_output, visit.layout)


def _download(visit: Visit, came: Generated) -> Row:
    id_ = "gateway.download"
    found = [fetched(visit.door, picture) for picture in came.pictures]
    bad = next((one for one in found if one.problem is not None), None)
    if bad is not None:
        remedy = "Look at the gateway's storage and disk, and at the proxy before it: does it pass this path on?"
        code = Code.OUTPUT_MISSING if not bad.data else Code.OUTPUT_CORRUPT
        return failed(id_, f"{bad.place or 'a picture of the answer'}: {bad.problem}", remedy, code=code)
    first, asked = found[0], visit.first.wish.size if visit.first is not None else None
    shown = f"{first.kind} {first.size[0]}x{first.size[1]}" if first.size else first.kind
    how = "in the answer itself" if isinstance(came.pictures[0], Inline) else "with the token"
    trace = visit.first.trace if visit.first is not None else None
    if asked is not None and first.size != asked and visit.behind is not None and trace is not None:
        made = made_by_comfyui(visit.behind, trace)
        if made is not None and made != first.size:
            what = f"{shown}, and ComfyUI made {made[0]}x{made[1]}"
            return failed(id_, what, "Does something between them rewrite pictures?", code=Code.OUTPUT_WRONG)
    return ok(id_, f"{len(found)} of {len(found)} {how}, decoded: {shown}")


def _private(visit: Visit, came: Generated) -> Row:
    id_ = "gateway.private"
    picture = came.pictures[0]
    if isinstance(picture, Inline):
        return skipped(id_, "its pictures come in the answer itself")
    place = place_of(picture, visit.door.url) if isinstance(picture, Link) else None
    if place is None:
        return skipped(id_, "its pictures have no URL: see gateway.download")
    if not is_at_gateway(visit.door, place):
        return skipped(id_, "its pictures lie at another address, which gets no token")
    if not visit.door.has(Who.USER):
        return skipped(id_, "no token was given")
    if visit.door.access.api_name == "openai":
        return skipped(id_, "links of this API are made to be fetched without a token")
    with_token = fetch(visit.door, place, Who.USER)
    if status_of(with_token) != 200:
        return skipped(id_, "they do not download with it either: see gateway.download")
    return judging.private_row(fetch(visit.door, place, Who.NOBODY), place, visit.layout)
