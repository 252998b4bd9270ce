"""Load on ComfyUI: `locust -f locustfiles/comfyui.py --host http://127.0.0.1:8188 --headless -u 10 -r 2 -t 1m`.

Made to be copied and edited: override `generate` for users of another kind (`comfysoak_load.users` shows how). Under
`comfysoak run` the scenario says what is sent and how many users there are; without it a built-in workflow is sent
that needs no model, and Locust's own options and web page decide.
"""

from locust import events

from comfysoak_load.harness import attach
from comfysoak_load.shape import PlanShape, has_plan
from comfysoak_load.users import ComfyUser

events.init.add_listener(attach)


class ComfyUIUser(ComfyUser):
    """Sends prompts, one after the other."""


class ComfyUIStages(PlanShape):
    """The stages of the scenario; without one, Locust's own -u, -r and -t count."""

    abstract = not has_plan()
