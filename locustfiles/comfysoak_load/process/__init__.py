"""One load process: what its users share, how it watches itself, and who is there beside it."""
