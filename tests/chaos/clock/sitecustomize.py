"""Sets the clocks of processes off. Python imports it at the start of each process that has this folder on PYTHONPATH.

A forked process reads how many seconds its clock is ahead (behind, if negative) from the file that CLOCK_FILE names.
The monotonic clock stays right, as it does on a machine whose clock is set.
"""

import os
import time
from pathlib import Path

import time_machine

_ahead = 0.0


def _set_clock() -> None:
    global _ahead
    real = time.time() - _ahead
    try:
        _ahead = float(Path(os.environ["CLOCK_FILE"]).read_text())
    except (KeyError, OSError, ValueError):
        return
    time_machine.travel(real + _ahead).start()
    time.time()  # from now on it ticks


os.register_at_fork(after_in_child=_set_clock)
