"""The whole platform as `manage.py up` runs it: how long a start takes, and what it holds."""

import time
from dataclasses import dataclass

from benchmarks.running import proportional_mib
from tests.e2e.stack import Stack, temporary_stack

LOAD_USERS, LOAD_SECONDS = 4, 5


@dataclass(frozen=True, slots=True)
class Platform:
    """Memory is that of all processes, Postgres and workers included, shared pages counted once."""

    warm_start_seconds: float
    ready_pss_mib: float
    busy_pss_mib: float


class PlatformFailed(Exception):
    """The platform does not start, or refuses the load; the text says why."""


def measure_platform() -> Platform:
    """The first start makes the cluster and the tables; what is measured is the second one. Raises PlatformFailed."""
    with temporary_stack() as stack:
        try:
            stack.up()
            stack.end()
            seconds = _timed_start(stack)
        except AssertionError as error:
            raise PlatformFailed(str(error)) from None
        ready = proportional_mib(stack.processes())
        load = stack.run("load", "--users", str(LOAD_USERS), "--seconds", str(LOAD_SECONDS))
        if load.returncode:
            raise PlatformFailed(load.stdout + load.stderr)
        return Platform(seconds, ready, proportional_mib(stack.processes()))


def _timed_start(stack: Stack) -> float:
    began = time.perf_counter()
    stack.up()
    return time.perf_counter() - began
