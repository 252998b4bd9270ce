"""What `bench_analysis` runs: a plain script that makes the same figures and charts of the same tables."""
