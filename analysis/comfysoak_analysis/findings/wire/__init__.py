"""Detectors of what goes wrong with sockets, answers and outputs: one file a code."""
