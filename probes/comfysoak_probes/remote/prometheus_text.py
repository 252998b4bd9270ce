"""Prometheus text (version 0.0.4), as it is written: families, escaped labels of bounded length, histograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LABEL_CHARACTERS = 200

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class PrometheusText:
    """Lines of one exposition, those of a family together."""

    families: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, about: str, kind: str, labels: Labels, value: float) -> None:
        """One sample of a family that is a gauge or a counter."""
        self._lines(name, about, kind).append(_sample(name, labels, value))

    def histogram(self, name: str, about: str, buckets: Mapping[float, int], count: int, total: float) -> None:
        """A histogram without labels. `buckets`: upper bound, ascending -> how many were at most so large."""
        lines = self._lines(name, about, "histogram")
        for bound, so_far in buckets.items():
            lines.append(_sample(f"{name}_bucket", (("le", f"{bound:g}"),), so_far))
        lines.append(_sample(f"{name}_bucket", (("le", "+Inf"),), count))
        lines.append(_sample(f"{name}_sum", (), total))
        lines.append(_sample(f"{name}_count", (), count))

    def encoded(self) -> bytes:
        """All of it; what UTF-8 cannot hold is replaced."""
        lines = [line for family in self.families.values() for line in family]
        return ("\n".join(lines) + "\n").encode("utf-8", "replace")

    def _lines(self, name: str, about: str, kind: str) -> list[str]:
        lines = self.families.get(name)
        if lines is None:
            lines = self.families[name] = [f"# HELP {name} {_escaped_help(about)}", f"# TYPE {name} {kind}"]
        return lines


def short(text: str) -> str:
    """As it is written: two things that look alike there must be one, for no series may be there twice."""
    text = text[:LABEL_CHARACTERS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
    return f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
