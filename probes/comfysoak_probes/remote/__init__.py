"""A probe on another machine: what it serves, and the run's side of it."""
