"""The way of a test through its stages: turns, pauses, cold starts, trials of a search."""
