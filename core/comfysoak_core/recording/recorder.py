"""The recorder: a process that turns closed stretches of the journal into Parquet, and writes the logs."""

from __future__ import annotations

from comfysoak_core.recording.start import start_recorder, stop_recorder

__all__ = ["start_recorder", "stop_recorder"]
