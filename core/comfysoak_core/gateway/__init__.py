"""The wire contract of image gateways in front of ComfyUI, without I/O: what is asked, what an answer means."""
