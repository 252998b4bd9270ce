"""Statistics that hold up on what load tests record: numbers in, frozen values out, no frame and no recording.

Moments are float seconds after the start of the run, series are numpy arrays of one length, and what draws at random
takes a seed. Each method says on what it was tried and what it gave; docs/analysis.md has the table.
"""
