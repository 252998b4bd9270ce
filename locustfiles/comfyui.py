"""Load on a ComfyUI server: `locust -f locustfiles/comfyui.py --host http://127.0.0.1:8188`."""
