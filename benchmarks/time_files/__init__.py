"""The processes that `bench_times` starts."""
