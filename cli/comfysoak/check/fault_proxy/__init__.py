"""A proxy of ours in front of the user's ComfyUI that fails on command, so that the server itself never has to.

faults  what it can be told to do        wire    requests and frames as they pass
proxy   the proxy
"""
