"""The model of a scenario: what to run, written as people write it, every mistake told at once."""
