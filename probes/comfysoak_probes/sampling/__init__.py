"""Sources asked on time, by few threads, and what they say handed on."""
