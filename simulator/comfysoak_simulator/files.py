"""The folders of a virtual server: output, input and temp, held in memory.

An output is kept as its recipe and made when somebody asks for it: a soak of days needs no disk,
and a server under load spends no time on pictures nobody looks at.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Literal

from comfysoak_simulator.recipes import Recipe, Still

Json = Any
Folder = Literal["output", "input", "temp"]
FOLDERS: tuple[Folder, ...] = ("output", "input", "temp")
MOST_FILES = 10_000  # of each folder; the oldest go first
MOST_INPUT_BYTES = 512 * 1024**2
_DRAWN_KEPT = 32


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file is, as answers name it."""

    filename: str
    subfolder: str
    type: Folder

    @classmethod
    def from_json(cls, entry: dict[str, Json]) -> Place:
        """The place an entry of an output names."""
        return cls(entry["filename"], entry["subfolder"], entry["type"])

    def as_json(self) -> dict[str, str]:
        """As in the outputs of history."""
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.type}


class Files:
    """All files of one server; they outlive its restarts, except those in temp."""

    def __init__(self) -> None:
        self._folders: dict[Folder, OrderedDict[tuple[str, str], Recipe | bytes]] = {
            folder: OrderedDict() for folder in FOLDERS
        }
        self._counters: OrderedDict[tuple[Folder, str], int] = OrderedDict()
        self._uploaded_bytes = 0
        self._drawn: OrderedDict[Place, bytes] = OrderedDict()

    def next_place(self, folder: Folder, prefix: str, extension: str, *, after: str = "_") -> Place:
        """A new name as ComfyUI counts them: `prefix_00001_.png`; a slash in `prefix` makes a subfolder."""
        subfolder, _, name = prefix.rpartition("/")
        number = self._counters[folder, prefix] = self._counters.get((folder, prefix), 0) + 1
        self._counters.move_to_end((folder, prefix))
        if len(self._counters) > MOST_FILES:  # one put away so long ago that its files are gone as well
            self._counters.popitem(last=False)
        return Place(f"{name}_{number:05}{after}.{extension}", subfolder, folder)

    def put(self, place: Place, content: Recipe | bytes) -> None:
        """Write a file."""
        folder = self._folders[place.type]
        folder[place.subfolder, place.filename] = content
        self._drawn.pop(place, None)
        if len(folder) > MOST_FILES:
            self._forget_oldest(place.type)

    def upload(self, place: Place, content: bytes, *, overwrite: bool) -> Place:
        """Write an uploaded file; without `overwrite` other bytes of the same name get a new name."""
        stem, dot, extension = place.filename.rpartition(".")
        if not dot:
            stem, extension = place.filename, ""
        free, number = place, 1
        while not overwrite and (there := self.read(free)) is not None and there != content:
            free = replace(place, filename=f"{stem} ({number}){dot}{extension}")
            number += 1
        if free.type == "input":
            self._uploaded_bytes += len(content) - len(self.read(free) or b"")
        self.put(free, content)
        while self._uploaded_bytes > MOST_INPUT_BYTES and len(self._folders["input"]) > 1:
            self._forget_oldest("input")
        return free

    def read(self, place: Place) -> bytes | None:
        """The bytes of a file; None when there is none."""
        content = self._folders[place.type].get((place.subfolder, place.filename))
        if content is None or isinstance(content, bytes):
            return content
        drawn = self._drawn.get(place)
        if drawn is None:
            drawn = self._drawn[place] = content.file()
            if len(self._drawn) > _DRAWN_KEPT:
                self._drawn.popitem(last=False)
        return drawn

    def delete(self, place: Place) -> None:
        """Take a file away."""
        self._folders[place.type].pop((place.subfolder, place.filename), None)
        self._drawn.pop(place, None)

    def spoil(self, place: Place, how: str, flipped_pixels: int) -> None:
        """Make a file not yet made a wrong one."""
        key = (place.subfolder, place.filename)
        recipe = self._folders[place.type].get(key)
        if isinstance(recipe, Recipe):
            self._folders[place.type][key] = replace(recipe, spoiled=how, flipped_pixels=flipped_pixels)

    def is_still(self, place: Place) -> bool:
        """Whether a file not yet made is to be one picture."""
        return isinstance(self._folders[place.type].get((place.subfolder, place.filename)), Still)

    def input_names(self) -> list[str]:
        """The files LoadImage offers, sorted."""
        return sorted(name for subfolder, name in self._folders["input"] if not subfolder)

    def input_named(self, text: str) -> bytes | None:
        """The bytes of an input as LoadImage names it: `name`, `subfolder/name` or `name [temp]`."""
        folder: Folder = "input"
        for kind in FOLDERS:
            if text.endswith(f" [{kind}]"):
                text, folder = text.removesuffix(f" [{kind}]"), kind
        subfolder, _, name = text.rpartition("/")
        return self.read(Place(name, subfolder, folder))

    def purge_temp(self) -> None:
        """What a server does when it starts."""
        self._folders["temp"].clear()

    def _forget_oldest(self, folder: Folder) -> None:
        _, content = self._folders[folder].popitem(last=False)
        if folder == "input" and isinstance(content, bytes):
            self._uploaded_bytes -= len(content)
