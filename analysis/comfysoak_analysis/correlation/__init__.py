"""What goes with what: throughput, failures and drops beside the state of the GPUs. Statements, never alarms."""

from comfysoak_analysis.correlation.search import statements
from comfysoak_analysis.correlation.statement import Kind, Statement

__all__ = ["Kind", "Statement", "statements"]
