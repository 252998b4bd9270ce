"""The front door: commands, and the supervision of a run."""
