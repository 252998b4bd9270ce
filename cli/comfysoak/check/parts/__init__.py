"""The looking: one module for each part of the check."""
