"""Statistics that hold up on what load tests record: numbers in, frozen values out, no frame and no recording.

Moments are float seconds after the start of the run, series are numpy arrays of one length, and what draws at random
takes a seed. docs/analysis.md has a table of what each method gave on series whose truth was known.
"""
