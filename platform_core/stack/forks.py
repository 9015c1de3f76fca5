"""Forks processes from a process that has already imported the libraries.

They start faster and share the memory pages of the imports, which saves about 30 MiB for each process.
"""

import gc
import importlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

import setproctitle

from platform_core.stack.processes import die_with_parent

_ROOT = Path(__file__).resolve().parents[2]
GUNICORN = _ROOT / "deploy" / "gunicorn.conf.py"

SOCKET = "PLATFORM_SOCKET"
"""Names the variable with the descriptor of the socket on which a web listens. It is set by `manage.py up`."""

# Modules that can be imported before Django is configured. prometheus_client is missing because it reads its
# environment when it is imported.
_COMMON = (
    "argon2",
    "asyncio",
    "corsheaders.middleware",
    "django.contrib.admin.options",
    "django.contrib.auth.hashers",
    "django.contrib.auth.password_validation",
    "django.contrib.messages.storage.session",
    "django.contrib.postgres.indexes",
    "django.contrib.postgres.search",
    "django.contrib.sessions.middleware",
    "django.contrib.staticfiles.finders",
    "django.core.handlers.wsgi",
    "django.core.mail",
    "django.core.management",
    "django.core.serializers.json",
    "django.db.backends.postgresql.base",
    "django.db.migrations.executor",
    "django.db.models",
    "django.forms",
    "django.template.backends.django",
    "django.urls",
    "django.views.generic",
    "drf_spectacular.types",
    "gunicorn.app.wsgiapp",
    "gunicorn.arbiter",
    "gunicorn.glogging",
    "gunicorn.workers.gthread",
    "inflection",
    "joserfc.jwt",
    "jsonschema",
    "msgspec",
    "platform_core.clients.exchange",
    "psycopg",
    "rest_framework.negotiation",
    "rest_framework.serializers",
    "uritemplate",
    "whitenoise.middleware",
    "yaml",
)


def preload() -> None:
    """Import what all children need. The garbage collector ignores it from now on, so that its pages stay shared."""
    for name in _COMMON:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


class Forked:
    """A child process, with those methods of ``subprocess.Popen`` that a supervisor needs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, seconds: float) -> bool:
        """Wait at most ``seconds``. True if the process has ended."""
        until = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def send(self, number: int) -> None:
        """Send a signal, if the process runs."""
        if self.poll() is None:
            os.kill(self.pid, number)


def fork(
    title: str,
    main: Callable[[], Any],
    environment: Mapping[str, str],
    *,
    output: IO[bytes] | None = None,
    not_theirs: Sequence[IO[str] | socket.socket] = (),
) -> Forked:
    """Run ``main`` in a child process with a session of its own. The child dies with this process (on Linux).

    It dies by SIGKILL, because a process that is stopped (SIGSTOP) does not take SIGTERM.

    Its exit code is 0 when ``main`` returns, that of SystemExit, or 1 for any other exception. ``output`` replaces its
    stdout and stderr. ``not_theirs`` are open files and sockets, such as locks, that the child must not hold.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return Forked(pid)
    code = 1
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.setsid()
        for file in not_theirs:
            file.close()
        if output is not None:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.environ.clear()
        os.environ.update(environment)
        setproctitle.setproctitle(title)
        main()
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 0 if exit.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve(configuration: str = str(GUNICORN)) -> None:
    """Run gunicorn with a configuration file, as its command line does."""
    from gunicorn.app.wsgiapp import run

    sys.argv = ["gunicorn", "--config", configuration]
    run()


def manage(*arguments: str) -> None:
    """Run a Django command of the service that DJANGO_SETTINGS_MODULE names."""
    from django.core.management import execute_from_command_line

    execute_from_command_line(["manage.py", *arguments])


def load_anew(title: str, *main: str, descriptor: int | None = None) -> NoReturn:
    """Replace this process by a new interpreter, so that it runs the code that is on the disk now.

    ``main`` is ``serve``, or ``manage`` and its arguments. The file ``descriptor`` stays open.
    """
    if descriptor is not None:
        os.set_inheritable(descriptor, True)
    os.chdir(_ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "platform_core.stack.forks", title, *main])  # noqa: S606


def _main(title: str, name: str, *arguments: str) -> None:
    setproctitle.setproctitle(title)
    if name == "serve":
        serve()
    else:
        manage(*arguments)


if __name__ == "__main__":
    _main(*sys.argv[1:])
