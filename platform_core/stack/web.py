"""``python -m platform_core.stack.web`` runs the web of one service, and announces its end before it stops it.

gunicorn closes its listeners as soon as it gets SIGTERM. This process, its parent, takes the signal first: it lets
`/health/ready` answer 503, waits `DRAIN_SECONDS` while all requests are still answered, and then passes the signal on.
A proxy that asks for readiness has stopped sending requests by then. A second SIGTERM or SIGINT ends the wait.

It imports very little, to save memory, and may be process 1 of a container.
"""

import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import FrameType

from platform_core.observability import LIFECYCLE, Lifecycle
from platform_core.stack.forks import fork, serve

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_PASSED_ON = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
_MEMORY = "/dev/shm"  # noqa: S108  # so that announcing works with a full disk and with a read-only one


class Web:
    """gunicorn, as the child of this process."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.lifecycle = lifecycle
        self.pid: int | None = None
        self.is_draining = False
        self.due: signal.Signals | None = None

    def run(self) -> int:
        """Run gunicorn until it ends. Returns its exit code; 128 plus the number of the signal that ended it."""
        for number in _STOPPING:
            signal.signal(number, self.on_stop)
        for number in _PASSED_ON:
            signal.signal(number, self.pass_on)
        signal.signal(signal.SIGALRM, self.on_drained)
        environment = {**os.environ, LIFECYCLE: str(self.lifecycle.folder)}
        self.pid = fork("gunicorn", serve, environment).pid
        if self.due is not None:  # it came before there was a process
            os.kill(self.pid, self.due)
        while True:
            pid, status = os.waitpid(-1, 0)  # process 1 is also handed the orphans of its container
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code

    def on_stop(self, number: int, frame: FrameType | None) -> None:
        """Handle the first signal to stop: announce the end and start the wait. A further one ends the wait."""
        seconds = int(os.environ.get("DRAIN_SECONDS") or 0)  # gunicorn's configuration has checked it
        if self.is_draining or not seconds or self.pid is None:
            self.send(signal.Signals(number))
            return
        self.is_draining = True
        self.lifecycle.leave()
        signal.alarm(seconds)

    def on_drained(self, number: int, frame: FrameType | None) -> None:
        """Stop gunicorn after the wait."""
        self.send(signal.SIGTERM)

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """Hand gunicorn a signal that it handles itself."""
        self.send(signal.Signals(number))

    def send(self, number: signal.Signals) -> None:
        """Send gunicorn a signal, now or when it has started."""
        if self.pid is None:
            self.due = number
        else:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def main() -> int:
    """Run the web of the service that DJANGO_SETTINGS_MODULE names. Returns the exit code."""
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="platform-web-", dir=memory) as folder:
        return Web(Lifecycle(Path(folder))).run()


if __name__ == "__main__":
    sys.exit(main())
