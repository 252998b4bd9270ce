"""Processes of this host: the servers under test, found by their ports, and those of the harness."""
