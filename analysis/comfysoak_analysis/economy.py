"""What came out for what went in, and how reliably: names and values for the report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from comfysoak_analysis.efficiency import busy_while_queued, efficiency, used_uuids
from comfysoak_analysis.findings.finding import Finding
from comfysoak_analysis.frames import Run
from comfysoak_analysis.gpu_state import GpuStates
from comfysoak_analysis.measuring import Evidence, latency_limits, measure
from comfysoak_analysis.reliability import reliability
from comfysoak_analysis.tiles import number_text, seconds_text

Pairs = tuple[tuple[str, str], ...]


def economy(run: Run, findings: Sequence[Finding], states: GpuStates) -> Pairs:
    """Goodput, prompts by GPU-hour and kilowatt-hour, idle GPUs beside a queue, failures by GPU-hours."""
    return tuple(_economy(run, Evidence(run, findings, states)))


def _economy(run: Run, evidence: Evidence) -> Iterator[tuple[str, str]]:
    if latency_limits(run.plan.goals if run.plan is not None else ()):
        good, all_of_them = (measure(f"prompts.{name}_minute", evidence).value for name in ("good_per", "per"))
        yield "Goodput", f"{number_text(good)} of {number_text(all_of_them)} a minute within the goals on latency"
    found = efficiency(run)
    unit = "GPU" if used_uuids(run) else "server"  # servers are counted where no GPU was watched
    if found.gpu_hours:
        what = f"{found.gpus:,} {unit}{'s' if found.gpus > 1 else ''} in use"
        yield f"Prompts by {unit}-hour", f"{number_text(found.per_gpu_hour)} ({found.prompts:,} prompts, {what})"
    if not math.isnan(found.per_kwh):
        power = f"{found.energy_kwh:.3g} kWh, {found.power_mean_watts:,.0f} W on average"
        yield "Prompts by kilowatt-hour", f"{number_text(found.per_kwh)} ({power}, GPUs alone)"
    busy, _ = busy_while_queued(run)
    if not math.isnan(busy):
        yield "GPU busy while prompts waited", f"{busy:.0%} of that time"
    outages = reliability(run)
    if outages.gpu_hours:
        yield "Reliability", outages.in_words(unit)
    if outages.failures:
        longest = outages.recovery_max_s
        back = "at least one server did not work again" if math.isinf(longest) else f"{seconds_text(longest)} at most"
        yield "Time to recover", back
