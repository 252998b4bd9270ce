"""From a recording, and nothing else, to figures, findings, a verdict and a report."""
