"""How much load the target takes: throughput and latency over steps of load, the law through them, and its knee."""

from comfysoak_analysis.saturation.saturation import Saturation, of_steps, saturation
from comfysoak_analysis.saturation.steps import Step, load_steps

__all__ = ["Saturation", "Step", "load_steps", "of_steps", "saturation"]
