"""Containers and control groups that servers of this host live in."""
