"""Places where a test can have the process die: what a power cut would do, at a moment of our choosing.

``PLATFORM_FAILPOINTS`` names a folder; the process that reaches the place ``order.opened`` while the folder holds a
file of that name removes the file and is killed. Without the variable nothing happens.
"""

import os
import signal
from pathlib import Path


def reached(name: str) -> None:
    """Die here if a test wants it so."""
    folder = os.environ.get("PLATFORM_FAILPOINTS")
    if not folder:
        return
    try:
        Path(folder, name).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
