"""Prompts by the million: one row each, narrow, filled piece by piece into arrays made once.

Texts are categoricals of small codes, times are float32. What is not needed of every prompt (ids, messages, what was
varied) is kept of the few that are looked at: `Chosen`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comfysoak_analysis.frames.columns import columns_of, to_frame
from comfysoak_analysis.frames.samples import coded, moments_in, numbers
from comfysoak_analysis.frames.thinning import Thinning
from comfysoak_analysis.prompts import NOT_INTENDED, Moments, Texts, derived, is_counted, with_derived_columns
from comfysoak_analysis.statistics.series import Floats
from comfysoak_core.recording.parquet import Group
from comfysoak_core.recording.reading import TableReader, rows_of
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
Beside = Callable[[Group], None]


@dataclass(frozen=True, slots=True)
class Derive:
    """What adds the derived columns to prompts."""

    clocks: pd.DataFrame
    trials: Collection[str]

    def frame(self, rows: pd.DataFrame) -> pd.DataFrame:
        """To a frame of them, in place."""
        return with_derived_columns(rows, self.clocks, trials=self.trials)

    def piece(self, rows: pa.Table) -> dict[str, Array]:
        """The derived columns alone."""
        return derived(_PieceRows(rows), self.clocks, trials=self.trials)


class _PieceRows:
    """See `comfysoak_analysis.prompts.Rows`."""

    def __init__(self, piece: pa.Table) -> None:
        self._piece = piece

    def moments(self, name: str) -> Moments:
        return moments_in(self._piece[f"{name}_ns"])

    def seconds(self, name: str) -> Floats:
        stored = f"{name.removesuffix('_s')}_ns"
        return numbers(self._piece[stored], stored)

    def texts(self, name: str, missing: str = "") -> Texts:
        codes, names = coded(self._piece[name])
        return Texts(codes, [*names[:-1], missing])


def lean_prompts(reader: TableReader, derive: Derive, beside: Beside) -> pd.DataFrame:
    """The prompts of the load in order of their schedule; `beside` is given each group that is read for it."""
    count = reader.extent().rows
    texts = {name: _Texts(count) for name in TEXTS}
    columns: dict[str, Array] = {name: np.empty(count, "datetime64[ns]") for name in MOMENTS}
    columns |= {name: np.empty(count, np.float32) for name in TIMES}
    columns |= {name: np.empty(count, np.bool_) for name in FLAGS}
    filled = 0
    for piece in reader.in_order(READ, beside):
        rows = of_load(piece)
        until = filled + rows.num_rows
        found = derive.piece(rows)
        found["scheduled"] = moments_in(rows["scheduled_ns"])
        for name, column in columns.items():
            column[filled:until] = found[name]
        for name, text in texts.items():
            text.put(filled, *coded(rows[name]))
        filled = until
    made: dict[str, Any] = {name: text.categorical(filled) for name, text in texts.items()}
    made |= {name: column[:filled] for name, column in columns.items()}
    return pd.DataFrame(made, copy=False)


def of_load(piece: pa.Table) -> pa.Table:
    """Without golden canaries."""
    canary = _is_canary(piece)
    return piece.filter(pc.invert(canary)) if pc.any(canary).as_py() else piece


class Chosen:
    """Rows of a table that are collected while it is read for something else: plain text, named columns."""

    def __init__(self, columns: Sequence[str], seen: Sequence[str], chosen: Callable[[pa.Table], Any]) -> None:
        """As for `TableReader.rows_where`."""
        self.columns, self._seen, self._chosen = tuple(columns), seen, chosen
        self.found: list[pa.Table] = []

    def add(self, group: Group) -> None:
        """Look at a group, and keep its rows that are chosen."""
        self.found += rows_of(group, self.columns, self._chosen(group.table(self._seen)))

    def rows(self, reader: TableReader) -> pa.Table:
        """All of them."""
        return pa.concat_tables([*self.found, reader.none(self.columns)])


def canaries() -> Chosen:
    """All columns of the golden canaries."""
    return Chosen(tuple(columns_of("prompts")), ("role",), _is_canary)


class Notable(Chosen):
    """All columns of the prompts of the load that did not end as expected or carry a code.

    At most `MOST_ALIKE` of each code and outcome, evenly chosen: the lean frame has the number of all.
    """

    def __init__(self) -> None:
        self._alike = Thinning(("code", "outcome"), MOST_ALIKE)
        seen = ("role", "outcome", "expected", "code")
        super().__init__(
            tuple(columns_of("prompts")), seen,
            lambda piece: pa.array(self._alike.choose(piece, _is_notable(piece).to_numpy())),
        )  # fmt: skip

    def add(self, group: Group) -> None:
        """See `Chosen.add`."""
        super().add(group)
        if self._alike.is_tighter:
            self.found = [pa.concat_tables(self.found).filter(pa.array(self._alike.still()))]


def unmeasured(trials: Collection[str]) -> Chosen:
    """Who is in no figure, and when: of the trials of a search all but those of the phases `trials`."""

    def chosen(piece: pa.Table) -> pa.Array:
        rows = _PieceRows(piece)
        mask = rows.texts("role").among((Role.CANARY.value,))
        mask |= rows.texts("phase").where(lambda phase: not is_counted(phase, trials))
        return pa.array(mask | rows.texts("outcome").among(("", *NOT_INTENDED)))

    return Chosen(("id", "scheduled_ns", "end_received_ns", "finished_ns"), ("role", "phase", "outcome"), chosen)


def named_rows(reader: TableReader, derive: Derive, ids: Collection[str]) -> pd.DataFrame:
    """All columns of the prompts with these ids, in order of their schedule."""
    wanted = pa.array(sorted(ids), pa.string())
    every = tuple(columns_of("prompts"))
    named = Chosen(every, ("id", "role"), lambda piece: pc.is_in(piece["id"], value_set=wanted))
    for group in reader.groups():
        named.add(group)
    return in_order_of_schedule(named.rows(reader), derive)


def in_order_of_schedule(rows: pa.Table, derive: Derive) -> pd.DataFrame:
    """Prompts with all columns as a frame, with the derived ones."""
    return derive.frame(to_frame(rows)).sort_values("scheduled", kind="stable", ignore_index=True)


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

    def put(self, at: int, codes: Array, names: list[str | None]) -> None:
        """The texts of one piece, as `coded` has them; None stays -1."""
        places = [self._known.setdefault(str(name), len(self._known)) for name in names[:-1]]
        if len(self._known) > np.iinfo(self._codes.dtype).max:
            self._codes = self._codes.astype(np.int32)
        mapped = np.array([*places, -1], dtype=self._codes.dtype)
        self._codes[at : at + len(codes)] = mapped[codes]

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
