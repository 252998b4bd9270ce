"""CPU time of one reading of one GPU by one library: `python reading.py WAY READINGS` prints nanoseconds.

Runs under the interpreter that has the library: ours, or that of the peers. WAY is `comfysoak` or `nvitop` (memory and
utilisation), `comfysoak-all` or `gpustat` (all that gpustat asks for; ours asks for more than that).
"""

import sys
import time


def comfysoak(*, rest):
    """A row of each table that is due: the fast one alone, or all of them each time."""
    from comfysoak_core.clock import Anchor, AnchoredClock
    from comfysoak_probes.nvml.driver import Gate
    from comfysoak_probes.nvml.gpu import GpuSource, Rates
    from comfysoak_probes.processes.names import ProcessNames
    from comfysoak_probes.source import Tick

    clock, gate = AnchoredClock(Anchor.take()), Gate()
    gate.open()
    every_s = 1e-9 if rest else 1e9
    (device,) = gate.devices()
    source = GpuSource(device, gate, Rates(0.1, every_s, every_s), "host", clock, ProcessNames())

    def read():
        now_ns = clock.now_ns()
        tick = Tick(now_ns, now_ns)
        return [*source.read(tick), *(source.read_rest(tick) if rest else ())]

    return read


def nvitop():
    """The same two calls by nvitop's device."""
    import nvitop

    device = nvitop.Device(0)
    return lambda: (device.memory_info(), device.utilization_rates())


def gpustat():
    """The query of gpustat; it has but this one."""
    import gpustat

    return gpustat.new_query


WAYS = {
    "comfysoak": lambda: comfysoak(rest=False),
    "comfysoak-all": lambda: comfysoak(rest=True),
    "nvitop": nvitop,
    "gpustat": gpustat,
}

read, count = WAYS[sys.argv[1]](), int(sys.argv[2])
for _ in range(20):
    read()  # what is done once is no cost of a sample
began_ns = time.process_time_ns()
for _ in range(count):
    read()
print((time.process_time_ns() - began_ns) / count)
