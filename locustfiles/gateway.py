"""Load on an image gateway: `locust -f locustfiles/gateway.py --host http://platform:8080 --headless -u 4 -r 1 -t 1m`.

Made to be copied and edited: override `generate` for users of another kind (`comfysoak_load.gateway.user` shows how).
Under `comfysoak run` the scenario says what is asked for; without it the environment does: COMFYSOAK_TOKEN, and
COMFYSOAK_API, COMFYSOAK_PROMPT, COMFYSOAK_SIZE, COMFYSOAK_N, COMFYSOAK_MODEL, COMFYSOAK_DEADLINE, COMFYSOAK_COMFYUI.
"""

from locust import events

from comfysoak_load.gateway.user import GatewayUser, attach_gateway
from comfysoak_load.shape import PlanShape, has_plan

events.init.add_listener(attach_gateway)


class ImageGatewayUser(GatewayUser):
    """Asks for pictures, time after time."""


class ImageGatewayStages(PlanShape):
    """The stages of the scenario; without one, Locust's own -u, -r and -t count."""

    abstract = not has_plan()
