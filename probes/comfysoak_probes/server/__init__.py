"""What a ComfyUI server says of itself, and what it leaves on its disk."""
