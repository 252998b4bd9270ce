"""Findings: what went wrong in a run, one code of the catalogue each, with the evidence."""
