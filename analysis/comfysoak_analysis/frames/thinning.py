"""A run in which millions fail is shown by some of them: of rows alike every one, then every second, every fourth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from comfysoak_analysis.frames.samples import coded

Array = np.ndarray[Any, np.dtype[Any]]


class Thinning:
    """Chooses rows piece by piece, at most `most` of each kind and those evenly by their order.

    A kind is what the text columns `by` say together.
    """

    def __init__(self, by: tuple[str, ...], most: int) -> None:
        self._by, self._most = by, most
        self._numbers: dict[tuple[str | None, ...], int] = {}
        self._seen: list[int] = []
        self._every: list[int] = []  # of each kind, which are kept
        self._kept: list[tuple[Array, Array]] = []  # kind and place among its like, of what was chosen
        self.is_tighter = False  # than when some of the rows were chosen: see `still`

    def choose(self, piece: pa.Table, candidates: Array) -> Array:
        """Which of the candidates (true or false for each row of `piece`) to keep; pieces come in order."""
        kinds, places = self._kinds(piece, np.flatnonzero(candidates))
        rows = np.flatnonzero(candidates)[places % np.array(self._every, np.int64)[kinds] == 0]
        chosen = np.zeros(len(candidates), dtype=bool)
        chosen[rows] = True
        among = chosen[candidates]
        self._kept.append((kinds[among], places[among]))
        return chosen

    def still(self) -> Array:
        """Of all rows chosen so far, in order, those to keep; the others are forgotten here as well."""
        kinds, places = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        keep: Array = places % np.array(self._every, np.int64)[kinds] == 0
        self._kept, self.is_tighter = [(kinds[keep], places[keep])], False
        return keep

    def _kinds(self, piece: pa.Table, rows: Array) -> tuple[Array, Array]:
        """Of each row its kind and its place among all of that kind."""
        texts = [coded(piece[name]) for name in self._by]
        codes = np.stack([column[rows] for column, _ in texts], axis=1) if rows.size else np.empty((0, len(texts)))
        found, which = np.unique(codes, axis=0, return_inverse=True)
        kinds, places = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        for place, combination in enumerate(found.astype(np.int64).tolist()):
            kind = self._number(tuple(names[code] for (_, names), code in zip(texts, combination, strict=True)))
            alike = which.ravel() == place
            kinds[alike], places[alike] = kind, self._seen[kind] + np.arange(np.count_nonzero(alike))
            self._count(kind, int(np.count_nonzero(alike)))
        return kinds, places

    def _number(self, kind: tuple[str | None, ...]) -> int:
        if kind not in self._numbers:
            self._numbers[kind] = len(self._numbers)
            self._seen.append(0)
            self._every.append(1)
        return self._numbers[kind]

    def _count(self, kind: int, more: int) -> None:
        self._seen[kind] += more
        while -(-self._seen[kind] // self._every[kind]) > self._most:
            self._every[kind] *= 2
            self.is_tighter = True
