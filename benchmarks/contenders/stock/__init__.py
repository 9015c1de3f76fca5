"""The same tables and promises in plain, untuned Django.

Django's default middleware, DRF's default settings, model serializers, numbered pages with their COUNT, `requests`
between services, and a summary that asks each service for its aggregates.
"""

import sys

from benchmarks.contender import SERVICES, Contender, Layout, Process


def processes(layout: Layout) -> list[Process]:
    """One gunicorn for each service, with its access log on stdout."""
    urls = {f"{name.upper()}_URL": layout.url[name] for name in SERVICES}
    return [_process(name, layout, urls) for name in SERVICES]


def _process(service: str, layout: Layout, urls: dict[str, str]) -> Process:
    options = {
        "bind": f"127.0.0.1:{layout.port(service)}",
        "worker-class": "gthread",
        "workers": layout.workers,
        "threads": layout.threads,
        "keep-alive": 75,
        "access-logfile": "-",
    }
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    # Five servers in one $HOME would use the same control socket.
    command = [sys.executable, "-m", "gunicorn", *given, "--no-control-socket", "benchmarks.contenders.stock.wsgi"]
    settings = {"DJANGO_SETTINGS_MODULE": "benchmarks.contenders.stock.settings", "SERVICE": service}
    return Process(service, command, {**settings, "DSN": layout.dsn[service], **urls})


CONTENDER = Contender(
    name="stock",
    title="The same promises in stock Django and DRF",
    processes=processes,
    deep_page=lambda rows, limit: f"/api/orders?page={rows // limit + 1}&limit={limit}",
)
