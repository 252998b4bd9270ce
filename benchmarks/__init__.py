"""Every figure the documentation quotes, measured: `make bench`."""
