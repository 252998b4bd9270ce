"""Prompts by the million: one row each, narrow, filled piece by piece into arrays made once.

Texts are categoricals of small codes, times are float32. What is not needed of every prompt (ids, messages, what was
varied) is read for the few that are looked at: `chosen_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_analysis.frames.columns import columns_of, to_frame
from comfysoak_analysis.frames.samples import coded
from comfysoak_analysis.frames.thinning import Thinning
from comfysoak_analysis.prompts import with_derived_columns
from comfysoak_core.recording.reading import TableReader
from comfysoak_core.rows import Role

TEXTS = ("server", "worker", "workflow", "phase", "expected", "outcome", "code")
MOMENTS = ("scheduled", "started_at", "done_at")
TIMES = ("latency_s", "service_s", "queue_wait_s", "fetch_s")
FLAGS = ("intended", "measured", "work", "ok", "timeable", "timed")
READ = (
    *TEXTS, "role", "scheduled_ns", "sent_ns", "start_received_ns", "start_error_ns", "end_received_ns",
    "started_server_ns", "ended_server_ns", "fetched_ns", "finished_ns", "left_ns", "cancel_asked_ns",
)  # fmt: skip

TEXTS_OF_SESSIONS = ("server", "worker", "role", "closed_by")
MOST_ALIKE = 50_000  # prompts of one code and outcome that are kept with all their columns

LINES_OF_PROMPTS = ("prompt_got", "prompt_executed")

Array = np.ndarray[Any, Any]
Derive = Callable[[pd.DataFrame], pd.DataFrame]


def deriving(clocks: pd.DataFrame, trials: Collection[str]) -> Derive:
    """What adds the derived columns to a piece."""
    return lambda frame: with_derived_columns(frame, clocks, trials=trials)


def lean_prompts(reader: TableReader, derive: Derive) -> pd.DataFrame:
    """The prompts of the load in order of their schedule."""
    count = reader.extent().rows
    texts = {name: _Texts(count) for name in TEXTS}
    columns: dict[str, Array] = {name: np.empty(count, "datetime64[ns]") for name in MOMENTS}
    columns |= {name: np.empty(count, np.float32) for name in TIMES}
    columns |= {name: np.empty(count, np.bool_) for name in FLAGS}
    filled = 0
    for piece in reader.in_order(READ):
        rows = of_load(piece)
        until = filled + rows.num_rows
        frame = derive(to_frame(rows))
        for name, column in columns.items():
            column[filled:until] = frame[name].to_numpy()
        for name, text in texts.items():
            text.put(filled, frame[name])
        filled = until
    made: dict[str, Any] = {name: text.categorical(filled) for name, text in texts.items()}
    made |= {name: column[:filled] for name, column in columns.items()}
    return pd.DataFrame(made, copy=False)


def of_load(piece: pa.Table) -> pa.Table:
    """Without golden canaries."""
    canary = _is_canary(piece)
    return piece.filter(pc.invert(canary)) if pc.any(canary).as_py() else piece


def canary_rows(reader: TableReader, derive: Derive) -> pd.DataFrame:
    """All columns of the golden canaries in order of their schedule."""
    return chosen_rows(reader, derive, ("role",), _is_canary)


def notable_rows(reader: TableReader, derive: Derive) -> pd.DataFrame:
    """All columns of the prompts of the load that did not end as expected or carry a code.

    At most `MOST_ALIKE` of each code and outcome, evenly chosen: the lean frame has the number of all.
    """
    every, alike = tuple(columns_of("prompts")), Thinning(("code", "outcome"), MOST_ALIKE)
    found: list[pa.Table] = []
    for rows in reader.rows_where(
        every,
        ("role", "outcome", "expected", "code"),
        lambda piece: pa.array(alike.choose(piece, _is_notable(piece).to_numpy())),
    ):
        found.append(rows)
        if alike.is_tighter:
            found = [pa.concat_tables(found).filter(pa.array(alike.still()))]
    return _derived(found, reader, derive)


def named_rows(reader: TableReader, derive: Derive, ids: Collection[str]) -> pd.DataFrame:
    """All columns of the prompts with these ids, in order of their schedule."""
    wanted = pa.array(sorted(ids), pa.string())
    return chosen_rows(reader, derive, ("id", "role"), lambda piece: pc.is_in(piece["id"], value_set=wanted))


def chosen_rows(
    reader: TableReader, derive: Derive, columns: tuple[str, ...], chosen: Callable[[pa.Table], pa.ChunkedArray]
) -> pd.DataFrame:
    """All columns of the rows for which `chosen`, which sees `columns`, is true."""
    every = tuple(columns_of("prompts"))
    return _derived(list(reader.rows_where(every, columns, chosen)), reader, derive)


def _derived(found: list[pa.Table], reader: TableReader, derive: Derive) -> pd.DataFrame:
    """These rows as a frame in order of their schedule."""
    every = tuple(columns_of("prompts"))
    frame = to_frame(pa.concat_tables(found)) if found else to_frame(reader.none(every))
    return derive(frame).sort_values("scheduled", kind="stable", ignore_index=True)


def _is_canary(piece: pa.Table) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(piece["role"], Role.CANARY.value), fill_value=False)


def _is_notable(piece: pa.Table) -> pa.ChunkedArray:
    outcome, expected = (piece[name].cast(pa.string()) for name in ("outcome", "expected"))
    differs = pc.fill_null(pc.not_equal(outcome, pc.fill_null(expected, "success")), fill_value=True)
    of_interest = pc.or_(differs, pc.is_valid(piece["code"]))
    return pc.and_(of_interest, pc.invert(_is_canary(piece)))


class _Texts:
    """One column of texts that repeat, as codes of one byte while that is enough."""

    def __init__(self, count: int) -> None:
        self._codes: Array = np.empty(count, np.int8)
        self._known: dict[str, int] = {}

    def put(self, at: int, texts: pd.Series) -> None:
        """The texts of one piece; None stays -1."""
        categorical = texts.array
        assert isinstance(categorical, pd.Categorical), texts.name  # noqa: S101  # else the reader changed
        places = [self._known.setdefault(str(name), len(self._known)) for name in categorical.categories]
        if len(self._known) > np.iinfo(self._codes.dtype).max:
            self._codes = self._codes.astype(np.int32)
        mapped = np.array([*places, -1], dtype=self._codes.dtype)
        self._codes[at : at + len(texts)] = mapped[categorical.codes]

    def categorical(self, count: int) -> pd.Categorical:
        """All of them, categories in alphabetical order."""
        names = sorted(self._known)
        rank = {name: place for place, name in enumerate(names)}
        mapped = np.array([*(rank[name] for name in self._known), -1], dtype=self._codes.dtype)
        codes = mapped[self._codes[:count]]
        return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype="str"))


def lean_sessions(reader: TableReader) -> pd.DataFrame:
    """All sockets in the order of opening; who they were (ids) only of those whose end has a code or a reason.

    Texts that repeat are categoricals, counts float32.
    """
    columns = tuple(columns_of("sessions"))
    found = [to_frame(_without_ids(piece)) for piece in reader.in_order(columns)]
    frame = pd.concat(found, ignore_index=True) if found else to_frame(_without_ids(reader.none(columns)))
    return frame.astype(dict.fromkeys(TEXTS_OF_SESSIONS, "category"))


def _without_ids(piece: pa.Table) -> pa.Table:
    kept = pc.or_(pc.is_valid(piece["code"]), pc.is_valid(piece["reason"]))
    for name in ("id", "client_id", "reopened_as"):
        texts = np.full(piece.num_rows, None, dtype=object)
        texts[kept.to_numpy()] = piece[name].filter(kept).cast(pa.string()).to_pylist()
        piece = piece.set_column(piece.schema.get_field_index(name), name, pa.array(texts, pa.string()))
    for place, name in enumerate(piece.column_names):
        if pa.types.is_dictionary(piece[name].type):
            piece = piece.set_column(place, name, piece[name].cast(pa.string()))
    for name in ("close_code", "messages", "message_bytes"):
        piece = piece.set_column(piece.schema.get_field_index(name), name, piece[name].cast(pa.float32(), safe=False))
    return piece


def log_lines(reader: TableReader) -> pd.DataFrame:
    """Lines of servers' logs, less those about prompts between which nothing else was said.

    Of lines about prompts that follow each other on one server the first and the last are kept: what they tell of
    loads is the same, and there are two a prompt.
    """
    columns = tuple(columns_of("server_log"))
    found = list(reader.rows_where(columns, ("at_ns", "server", "kind"), _is_worth_keeping))
    frame = to_frame(pa.concat_tables(found)) if found else to_frame(reader.none(columns))
    return frame.sort_values("at", kind="stable", ignore_index=True)


def _is_worth_keeping(piece: pa.Table) -> pa.ChunkedArray:
    """All that is not about prompts, and the lines about prompts beside such a line, or at an edge of the piece."""
    servers, _ = coded(piece["server"])
    kinds, names = coded(piece["kind"])
    plain = np.array([name in LINES_OF_PROMPTS for name in names], dtype=bool)[kinds]
    order = np.argsort(servers, kind="stable")
    of_server, is_plain = servers[order], plain[order]
    same = of_server[1:] == of_server[:-1]
    before = np.concatenate([[False], same & is_plain[:-1]])
    after = np.concatenate([same & is_plain[1:], [False]])
    kept = np.empty(len(order), bool)
    kept[order] = ~(is_plain & before & after)
    return pa.chunked_array([pa.array(kept)])
