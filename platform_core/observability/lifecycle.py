"""How a web or worker and the process that started it tell each other that it is ready, or that it is leaving.

They use empty or short files in a folder that LIFECYCLE names. Files also reach processes that are started
later, such as a gunicorn worker that replaces a killed one. Without the variable nobody listens, and nothing is
written.
"""

import os
from contextlib import suppress
from pathlib import Path

LIFECYCLE = "PLATFORM_LIFECYCLE"
"""Set by `manage.py up` and by the image for the processes that they start."""
_LEAVING, _TRIAL, _REASON, _READY = "leaving", "trial", "reason", "ready-"


class Lifecycle:
    """The folder of one web or worker. ``folder`` exists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def leave(self) -> None:
        """Make `/health/ready` of these processes answer 503. If that fails, they leave unannounced."""
        with suppress(OSError):
            (self.folder / _LEAVING).touch()

    def is_leaving(self) -> bool:
        """Whether these processes are about to stop."""
        return (self.folder / _LEAVING).exists()

    def begin_trial(self) -> None:
        """From now on, these processes serve nothing until they are ready. Raises OSError."""
        (self.folder / _TRIAL).touch()

    def end_trial(self) -> None:
        """From now on, these processes serve even if they are not ready, so that they can answer 503."""
        (self.folder / _TRIAL).unlink(missing_ok=True)

    def is_on_trial(self) -> bool:
        """Whether a process that is not ready must not serve."""
        return (self.folder / _TRIAL).exists()

    def note_ready(self) -> None:
        """Note that this process is ready. Raises OSError."""
        (self.folder / f"{_READY}{os.getpid()}").touch()

    def ready(self) -> int:
        """The number of processes that have noted that they are ready."""
        return len(list(self.folder.glob(f"{_READY}*")))

    def note_reason(self, text: str) -> None:
        """Note why this process is not ready yet. Raises OSError."""
        part = self.folder / f"{_REASON}.{os.getpid()}"
        part.write_text(text)
        part.replace(self.folder / _REASON)

    def reason(self) -> str:
        """Why a process is not ready, as it noted last; empty if it is unknown."""
        with suppress(OSError):
            return (self.folder / _REASON).read_text()
        return ""


def own_lifecycle() -> Lifecycle | None:
    """The lifecycle of this process; None if nobody listens."""
    folder = os.environ.get(LIFECYCLE)
    return Lifecycle(Path(folder)) if folder else None
