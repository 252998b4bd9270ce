"""Programs that bench_probes.py starts, each as a process of its own."""
