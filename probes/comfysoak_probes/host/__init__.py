"""The host the sampler runs on."""
