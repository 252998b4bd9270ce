"""stub"""

from comfysoak_analysis.compare.comparison import Comparison


def render(comparison: Comparison) -> str:
    raise NotImplementedError
