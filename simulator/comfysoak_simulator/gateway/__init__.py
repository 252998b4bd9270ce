"""A virtual image gateway in front of a ComfyUI, to rehearse on: Open WebUI of two ages, and OpenAI's shape."""
