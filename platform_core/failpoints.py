"""Places where a test can have the process die: what a power cut would do, at a moment of our choosing.

``PLATFORM_FAILPOINT=order.opened`` kills the process with SIGKILL when it gets there, once for each file that
``PLATFORM_FAILPOINT_ONCE`` names: the first process to make the file dies. Never in production.
"""

import os
import signal
from pathlib import Path


def reached(name: str) -> None:
    """Die here if the environment says so."""
    if os.environ.get("PLATFORM_FAILPOINT") != name or os.environ.get("PLATFORM_ENV") == "production":
        return
    once = os.environ.get("PLATFORM_FAILPOINT_ONCE")
    if once:
        try:
            Path(once).touch(exist_ok=False)
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
