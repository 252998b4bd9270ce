"""A run on several machines: the master's side, the worker's side, and the channel between them."""
