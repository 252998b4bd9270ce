"""Our client at 80 % CPU: `python -m benchmarks.time_files.client URL PROMPTS SOCKETS [CERTIFICATE]`.

Its sockets are those of a load process; beside them it burns CPU in stretches as long as decoding a picture takes,
until 80 % of a core are used. Prints one line of JSON: prompt id -> [our time of its end, error bound, time in user
space], on the monotonic clock of this machine, and the share of CPU used.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import random  # noqa: E402
import ssl  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402

from comfysoak_core.clock import Anchor, AnchoredClock  # noqa: E402
from comfysoak_core.comfyui.messages import Executing, Message  # noqa: E402
from comfysoak_core.recording.layout import Layout  # noqa: E402
from comfysoak_load.edge.stamps import Arrival  # noqa: E402
from comfysoak_load.process.load_process import new_journal  # noqa: E402
from comfysoak_load.servers.target import Target  # noqa: E402
from comfysoak_load.sockets.registry import Sockets  # noqa: E402

BUSY = 0.8
LEAST_S, MOST_S = 0.002, 0.03
NEVER_WITHIN_S = 120.0


class Ends:
    """Keeps when each prompt ended."""

    def __init__(self, clock: AnchoredClock) -> None:
        self.found: dict[str, tuple[int, int, int]] = {}
        self._clock = clock
        self._shift_ns = clock.anchor.utc_ns - clock.anchor.monotonic_ns

    def on_message(self, message: Message, arrival: Arrival, size_bytes: int) -> None:
        """A message came."""
        if type(message) is Executing and message.is_end and message.prompt_id is not None:
            now_ns = self._clock.now_ns() - self._shift_ns
            self.found[message.prompt_id] = (arrival.at_ns - self._shift_ns, arrival.error_ns, now_ns)

    def on_socket_lost(self, at_ns: int) -> None:
        """The server has gone."""

    def on_socket_reopened(self, at_ns: int) -> None:
        """It is back."""


def burn() -> None:
    """Use CPU until, with all else, this process uses its share; what others took from it is not made up for."""
    while True:
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        until_s = began_cpu_s + random.uniform(LEAST_S, MOST_S)
        while time.process_time() < until_s:
            pass
        gevent.sleep((until_s - began_cpu_s) * (1 - BUSY) / BUSY)
        while (time.process_time() - began_cpu_s) > BUSY * (time.monotonic() - began_s):
            gevent.sleep(0.001)


def main() -> None:
    """Listen until all prompts have ended."""
    url, prompts, sockets = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        Layout(Path(folder)).journal.mkdir()
        clock = AnchoredClock(Anchor.take())
        ours = Sockets("load-0", clock, new_journal(Path(folder), clock, "load-0"))
        ours.start()
        target = Target(url, clock)
        if len(sys.argv) > 4:
            target.tls = ssl.create_default_context(cafile=sys.argv[4])
        ends = Ends(clock)
        for _ in range(sockets):
            connection = ours.make(target, "user")
            connection.listen(ends)
            connection.connect()
            connection.is_open.wait()
        gevent.spawn(burn)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        while len(ends.found) < prompts and time.monotonic() - began_s < NEVER_WITHIN_S:
            gevent.sleep(0.1)
            if int(time.monotonic() * 10) % 10 == 0:
                clock.read_offset()
        busy = (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
    print(json.dumps({"ends": ends.found, "busy": busy}))


if __name__ == "__main__":
    main()
