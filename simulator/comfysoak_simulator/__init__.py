"""The embedded ComfyUI: its contract, its queue, its cache, its virtual GPU, its faults."""
