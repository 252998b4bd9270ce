"""Model loads, which no table holds: derived from what does, the most trustworthy source first.

1. Lines of the server's log: `Requested to load X` and what it says when it is done. They name model and bytes.
2. GPU memory that rises by 256 MiB or more inside the window of a node and stays up when the node ends.
3. A sampler's wait between its start and its first step, where that is far above its usual.

Each server uses the best source it has; while its log could not be read, the next one. See `docs/probing.md`.
"""

from comfysoak_analysis.model_loads.derivation import let_go, loaded_models, model_loads
from comfysoak_analysis.model_loads.held import Held, LoadedModels
from comfysoak_analysis.model_loads.load import ModelLoad, Origin, Source

__all__ = ["Held", "LoadedModels", "ModelLoad", "Origin", "Source", "let_go", "loaded_models", "model_loads"]
