"""A prompt on its way: what it is, what is done with it on purpose, and what came of it."""
