"""Detectors of what goes wrong with GPUs, hosts, disks and processes: one file a code."""
