"""`comfysoak probe`: what the sampler says, in the terminal."""
