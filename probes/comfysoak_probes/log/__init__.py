"""A server's log: the ways to its lines, and what they say."""
