"""Charts as plain values: what is drawn is decided here, how it looks in `templates/`."""
