"""What goes with what: throughput, failures and drops beside the state of the GPUs; and when service times changed.

Statements, never alarms.
"""

from comfysoak_analysis.correlation.search import statements
from comfysoak_analysis.correlation.statement import Kind, Statement
from comfysoak_analysis.correlation.steps import steps

__all__ = ["Kind", "Statement", "statements", "steps"]
