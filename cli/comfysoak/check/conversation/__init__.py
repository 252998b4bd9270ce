"""What a check says to a ComfyUI, and hears of it: sockets, prompts, and the runs that rows share."""
