"""The front door: commands, and the supervision of a run."""

from importlib.metadata import version

__version__ = version("comfysoak")
