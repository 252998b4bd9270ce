"""ComfyUI's wire contract without I/O, its workflows, and one plain synchronous client."""
