"""What a finding is: one code of the catalogue, seen in this recording, with the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from comfysoak_core.codes import CATALOGUE, Code, Severity

EXAMPLES = 5


class Certainty(StrEnum):
    """How sure a finding is."""

    CERTAIN = "certain"  # the wire, the driver or the kernel said so
    LIKELY = "likely"  # a rule of the catalogue holds, and its known mistakes are ruled out
    POSSIBLE = "possible"  # it looks so, and something else could look the same


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A finding that the scenario accepts, and why; after `until` it counts again."""

    reason: str
    until: str  # ISO date


@dataclass(frozen=True, slots=True)
class GpuState:
    """The GPUs within two seconds of a moment; None where no sample was near enough, with the reason in `unknown`."""

    at_ns: int
    gpus: int = 1  # how many were watched; which of them a server uses is not known
    vram_share: float | None = None  # the fullest GPU, 0 to 1
    vram_used_bytes: int | None = None
    utilisation_ratio: float | None = None  # mean of the samples in the window
    loaded_models: tuple[str, ...] = ()
    perhaps_loaded: tuple[str, ...] = ()  # loaded before, and since then perhaps unloaded without a word
    staged_models: tuple[str, ...] = ()  # by dynamic VRAM: as much of each is there as is needed and fits
    unknown: str | None = None

    def in_words(self) -> str:
        """The state as one short phrase."""
        if self.unknown is not None:
            return f"GPU state unknown: {self.unknown}"
        parts = []
        if self.vram_share is not None:
            parts.append(
                f"VRAM {self.vram_share:.0%}" + (f" on the fullest of {self.gpus} GPUs" if self.gpus > 1 else "")
            )
        if self.utilisation_ratio is not None:
            whose = f"{self.gpus} GPUs busy {{:.0%}} on average" if self.gpus > 1 else "GPU busy {:.0%}"
            parts.append(whose.format(self.utilisation_ratio))
        for word, names in (
            ("loaded", self.loaded_models),
            ("perhaps loaded", self.perhaps_loaded),
            ("staged", self.staged_models),
        ):
            if names:
                parts.append(f"{word}: {', '.join(names)}")
        return " · ".join(parts) or "no GPU readings"


@dataclass(frozen=True, slots=True)
class Finding:
    """One code with its evidence. `moments_ns` are for the marks in the charts, `examples` ids of rows."""

    code: Code
    count: int
    first_ns: int
    last_ns: int
    evidence: str
    examples: tuple[str, ...] = ()
    states: tuple[GpuState, ...] = ()  # one an example
    moments_ns: tuple[int, ...] = ()
    certainty: Certainty = Certainty.CERTAIN
    chart: str = "incidents"  # key of the chart that shows it
    unless: str = ""  # what else could look the same, where it is not certain
    accepted: Acceptance | None = None
    subjects: tuple[str, ...] = ()  # servers, uuids of GPUs, hosts it is about; empty: not told apart, shown with all
    incident: str = ""  # folder in the run directory, once it is written

    @property
    def anchor(self) -> str:
        """Its permanent address within a report, and the name of its folder: `finding-OOM`."""
        return f"finding-{self.code.value}"

    @property
    def severity(self) -> Severity:
        """How much it weighs, by the catalogue."""
        return CATALOGUE[self.code].severity

    @property
    def meaning(self) -> str:
        """What the code means, by the catalogue."""
        return CATALOGUE[self.code].meaning

    @property
    def remedy(self) -> str:
        """What to do about it, by the catalogue."""
        return CATALOGUE[self.code].remedy
