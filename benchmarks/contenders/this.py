"""This project: one gunicorn for each service, as in a container, without the background workers.

It is measured twice: open as in development, like the others, and closed as in production, with signed tokens between
client and services and among the services.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping

import requests

from benchmarks.contender import SERVICES, Contender, Layout, Process
from platform_core.conf import ROOT, parsed
from platform_core.stack import make_keys
from platform_core.topology import BY_PACKAGE, USER, Service

EMAIL = "benchmark@example.com"
_SECRET_KEY = f"benchmark-{secrets.token_hex(32)}"
"""One key for the whole run, because it signs cursors."""

_ENDLESS = ",".join(f"admin.{kind}=1000000000" for kind in ("reads", "writes", "mails"))
"""Requests are counted, but none is refused."""


def _service(stem: str) -> Service:
    return BY_PACKAGE[f"{stem}_svc"]


def _environment(layout: Layout, stem: str, mode: str) -> dict[str, str]:
    metrics = layout.folder / "metrics" / stem
    metrics.mkdir(parents=True, exist_ok=True)
    return {
        "PLATFORM_ENV": mode,
        "SECRET_KEY": _SECRET_KEY,
        "ALLOWED_HOSTS": "127.0.0.1",
        "KEYS_DIR": str(layout.folder / "keys"),
        "DJANGO_SETTINGS_MODULE": _service(stem).settings_module,
        "DATABASE_URL": layout.dsn[stem],
        "PORT": str(layout.port(stem)),
        "WEB_CONCURRENCY": str(layout.workers),
        "WEB_THREADS": str(layout.threads),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        **({"RATE_LIMITS": _ENDLESS} if mode == "production" else {}),
        **{_service(each).url_variable: layout.url[each] for each in SERVICES},
    }


def _processes(layout: Layout, mode: str) -> list[Process]:
    make_keys(parsed({"KEYS_DIR": str(layout.folder / "keys")}))
    command = (sys.executable, "-m", "gunicorn", "--config", str(ROOT / "deploy" / "gunicorn.conf.py"))
    return [Process(stem, command, _environment(layout, stem, mode)) for stem in SERVICES]


def _signed_in(layout: Layout) -> Mapping[str, str]:
    """Creates an admin account and returns its headers."""
    made = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), USER.package, "make_staff", EMAIL, "--new-password"],
        cwd=ROOT,
        env={**os.environ, **_environment(layout, USER.stem, "production")},
        capture_output=True,
        text=True,
        check=True,
    )
    body = {"email": EMAIL, "password": made.stdout.split()[-1]}
    answer = requests.post(f"{layout.url[USER.stem]}/api/auth/token", json=body, timeout=30)
    answer.raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['access']}"}


CONTENDERS = (
    Contender("this", "this project", lambda layout: _processes(layout, "development")),
    Contender(
        "this-tokens", "this project, with tokens", lambda layout: _processes(layout, "production"), headers=_signed_in
    ),
)
