"""The users of a load test, for locustfiles to make their own of.

    from locust import events
    from comfysoak_load.harness import attach
    from comfysoak_load.users import ComfyUser

    events.init.add_listener(attach)

    class MyUser(ComfyUser):
        def generate(self):
            self.client.generate("portrait")            # the name of a workflow of the scenario
            self.client.generate("upscale")

Several kinds of tasks, with weights, are Locust's own `@task` methods, as in any locustfile.
"""

from __future__ import annotations

from typing import Any

import gevent
from locust import User, task
from locust.user.task import LOCUST_STATE_STOPPING

from comfysoak_load.client import ComfyClient
from comfysoak_load.harness import process_of
from comfysoak_load.process.load_process import LoadProcess
from comfysoak_load.prompts.told import fire_of


def _generate(user: ComfyUser) -> None:
    """The task of every user who has none of its own."""
    try:
        user.generate()
    except Exception as error:  # noqa: BLE001  # a mistake in one prompt does not end the test
        user.process.own_error(error)
        gevent.sleep(1.0)


class ComfyUser(User):  # type: ignore[misc]  # Locust is not typed here
    """Holds one WebSocket; sends a prompt, waits for its end, fetches and checks what came of it, thinks, repeats.

    A user whom Locust stops finishes the prompt it has open, and only then leaves.
    """

    abstract = True
    through_gateway = False
    tasks = [_generate]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Tasks of a subclass take the place of ours; Locust would add them to it."""
        super().__init_subclass__(**kwargs)
        own = [found for found in cls.tasks if found is not _generate]
        cls.tasks = own or [_generate]

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.process: LoadProcess = process_of(environment)
        self.client = self._new_client()

    def _new_client(self) -> ComfyClient:
        return ComfyClient(self.process, fire_of(self.environment))

    def on_start(self) -> None:
        """Begin to open the socket."""
        self.client.connect()

    def generate(self) -> None:
        """One prompt of the scenario's mix, from sending to its checked pictures; override it for something else."""
        self.client.generate()

    def wait_time(self) -> float:
        """The pause the scenario asks for after a prompt."""
        return self.client.think_s

    def on_stop(self) -> None:
        """Close the socket."""
        self.client.leave()

    def stop(self, force: bool = False) -> bool:  # noqa: FBT001, FBT002, ARG002  # Locust's signature
        """Leave now, or after the open prompt. Locust counts this user no more in either case."""
        if self.client.busy:
            self._state = LOCUST_STATE_STOPPING
            self._group.discard(self._greenlet)
            self.process.leaving.add(self._greenlet)
            return False
        return bool(super().stop(force=True))


class WatcherUser(User):  # type: ignore[misc]  # Locust is not typed here
    """Holds a WebSocket that only listens, as an open browser tab does: for locustfiles of your own.

    Set `fixed_count`: so many of Locust's `-u` are watchers then. The watchers of a scenario are no users, and cost
    a fifth of one each.
    """

    abstract = True

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.process: LoadProcess = process_of(environment)
        self._connection = self.process.watch()

    @task  # type: ignore[untyped-decorator]  # Locust is not typed here
    def watch(self) -> None:
        """Keep the socket open until stopped."""
        self._connection.connect()
        while True:
            gevent.sleep(3600)

    def on_stop(self) -> None:
        """Close the socket."""
        self.process.part(self._connection)

    def stop(self, force: bool = False) -> bool:  # noqa: FBT001, FBT002, ARG002  # Locust's signature
        """There is nothing to finish."""
        return bool(super().stop(force=True))
