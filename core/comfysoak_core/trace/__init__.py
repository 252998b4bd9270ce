"""Traces: what really happened at a server, prompt by prompt, so that it can happen again."""
