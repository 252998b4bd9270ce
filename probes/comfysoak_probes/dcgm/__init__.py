"""GPUs of another host by an exporter of DCGM series."""
