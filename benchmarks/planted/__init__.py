"""Recordings with known truth, made column by column: any length in seconds, sealed, as the recorder leaves them."""
