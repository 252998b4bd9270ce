"""`comfysoak check --watch`: stays, and looks again and again.

    looking       one light look, which has nothing run      -> standing: folds looks and canaries, says what is new
    canary        a prompt of ours now and then              -> standing
    held_sockets  two WebSockets, open all the time
    standing      -> exposition (/metrics), readiness (/readyz), logbook (stderr)
    monitor       the steps of the threads; watching runs them, and ends them

`worker_watch`, `generations`, `configured` and `beat` are rules without I/O, for all of which a clock is an argument.
"""

from comfysoak.check.monitor.rhythm import Rhythm
from comfysoak.check.monitor.watching import watch

__all__ = ["Rhythm", "watch"]
