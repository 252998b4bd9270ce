"""The processes that `bench_sockets` starts."""
