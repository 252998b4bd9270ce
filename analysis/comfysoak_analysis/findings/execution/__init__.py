"""Detectors of what goes wrong with prompts, nodes and workers: one file a code."""
