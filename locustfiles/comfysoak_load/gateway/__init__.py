"""Users of an image gateway in front of ComfyUI."""
