"""What every part of ComfySoak stands on: the scenario, ComfyUI's wire contract, the recording, the clock."""
