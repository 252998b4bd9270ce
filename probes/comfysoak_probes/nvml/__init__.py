"""The NVIDIA driver of this host: the gate to it, the GPUs it has, what each tells, what they report by themselves."""
