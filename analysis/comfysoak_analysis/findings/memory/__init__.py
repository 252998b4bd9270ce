"""Detectors of what goes wrong with GPU and main memory over time: one file a code."""
