"""What watches: NVML, DCGM, the host, the server; and the sampler that asks them on time."""
