"""A service in this process, on an embedded Postgres of its own, for a script that uses it as its clients do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.suites import temporary_server


@contextmanager
def running(package: str) -> Iterator[Any]:
    """The service, migrated; an API client. The staff client is `staff`."""
    with temporary_server() as url:
        os.environ |= {"DJANGO_SETTINGS_MODULE": f"{package}.settings", "DATABASE_URL": url, "LOG_LEVEL": "error"}
        import django

        django.setup()
        from django.conf import settings
        from django.core.management import call_command
        from django.db import connections
        from rest_framework.test import APIClient

        settings.ALLOWED_HOSTS = ["*"]
        call_command("migrate", verbosity=0)
        try:
            yield APIClient(HTTP_ACCEPT="application/json")
        finally:
            connections.close_all()


def staff() -> Any:
    """A browser in which an admin is signed in."""
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client()
    client.force_login(User.objects.create_superuser("boss"))
    return client


def sent(answer: Any, status: int) -> Any:
    assert answer.status_code == status, (answer.status_code, answer.content)
    return answer.json()
