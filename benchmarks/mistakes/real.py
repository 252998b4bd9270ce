"""A workflow for a real ComfyUI with tiny models: nodes are numbered as in the SDXL one, so that mistakes fit both.

The models and the node that makes a conditioning without a text encoder are not part of this project; who has neither
gives another graph with the same numbers.
"""

from __future__ import annotations

import json
from typing import Final

GRAPH: Final = {
    "4": {
        "class_type": "UNETLoader",
        "inputs": {"unet_name": "tiny_sd3_random.safetensors", "weight_dtype": "default"},
    },
    "41": {"class_type": "VAELoader", "inputs": {"vae_name": "tiny_taesd_random.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 256, "height": 256, "batch_size": 1}},
    "51": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
    "6": {"class_type": "PrimitiveString", "inputs": {"value": "lighthouse"}},
    "7": {"class_type": "PrimitiveString", "inputs": {"value": "watermark"}},
    "71": {"class_type": "HarnessConditioning", "inputs": {"width": 4096, "pooled": 2048}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 1,
            "steps": 6,
            "cfg": 1.5,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["4", 0],
            "positive": ["71", 0],
            "negative": ["71", 0],
            "latent_image": ["51", 0],
        },
    },
    "31": {"class_type": "SaveLatent", "inputs": {"samples": ["3", 0], "filename_prefix": ["7", 0]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["41", 0]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": ["6", 0]}},
}
WORKFLOW: Final = json.dumps(GRAPH)
NODES: Final = json.dumps(
    [
        {"type": "prompt", "key": "value", "node_ids": ["6"]},
        {"type": "negative_prompt", "key": "value", "node_ids": ["7"]},
        {"type": "model", "key": "unet_name", "node_ids": ["4"]},
        {"type": "width", "key": "width", "node_ids": ["5"]},
        {"type": "height", "key": "height", "node_ids": ["5"]},
        {"type": "n", "key": "batch_size", "node_ids": ["5"]},
        {"type": "steps", "key": "steps", "node_ids": ["3"]},
        {"type": "seed", "key": "seed", "node_ids": ["3"]},
    ]
)
