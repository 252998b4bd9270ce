"""One verb, one file; each imports what it needs when it is called."""
