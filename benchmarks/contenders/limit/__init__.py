"""The floor of this design: the platform's rows and statements behind bare WSGI functions.

A slower implementation pays for a framework, validation, logs, metrics, or a less terse way to keep the
promises. A faster one has a different design.
"""

import sys

from benchmarks.contender import SERVICES, Contender, Layout, Process


def processes(layout: Layout) -> list[Process]:
    """One gunicorn per service, with `deploy/gunicorn.conf.py`."""
    urls = {f"{name.upper()}_URL": layout.url[name] for name in SERVICES}
    return [Process(name, _command(name, layout), {"DSN": layout.dsn[name], **urls}) for name in SERVICES]


def _command(service: str, layout: Layout) -> list[str]:
    options = {
        "bind": f"127.0.0.1:{layout.port(service)}",
        "worker-class": "gthread",
        "workers": layout.workers,
        "threads": layout.threads,
        "keep-alive": 75,
        "worker-tmp-dir": "/dev/shm",  # noqa: S108  # heartbeats without a disk
    }
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    application = f"benchmarks.contenders.limit.{service}:application"
    return [sys.executable, "-m", "gunicorn", *given, "--no-control-socket", "--preload", application]


CONTENDER = Contender(name="limit", title="The same design in bare WSGI and SQL", processes=processes)
