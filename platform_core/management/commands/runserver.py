"""``manage.py <service> runserver``: Django's development server on the service's port."""

import os
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.management.commands.runserver import Command as StaticRunserver
from django.core.management.base import CommandError
from django.db import connection
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from platform_core.conf import production
from platform_core.stack import is_free


class Command(StaticRunserver):
    """Django's `runserver` with the service's port as its default, and with the checks of production."""

    addr: str
    port: str
    use_ipv6: bool
    default_port = property(lambda self: str(settings.PORT))

    def run(self, **options: Any) -> None:
        """Runs in the process that watches the files, and again in the process that serves."""
        if not os.environ.get(DJANGO_AUTORELOAD_ENV):
            self.refuse_taken_port()
            connection.ensure_connection()  # otherwise the serving thread would fail with a traceback
        super().run(**options)

    def refuse_taken_port(self) -> None:
        """Raises CommandError if the port is in use."""
        if not self.use_ipv6 and not is_free(self.addr, int(self.port)):
            raise CommandError(
                f"Port {self.port} is in use, perhaps by `manage.py up`. Stop that, or choose another port: "
                f"`manage.py {settings.SERVICE.package} runserver {int(self.port) + 1000}`."
            )

    def inner_run(self, *args: Any, **options: Any) -> None:
        """Serve, if the configuration is safe for production. Raises ConfigurationError."""
        production.check(settings)
        production.warn(settings)
        super().inner_run(*args, **options)

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.set_defaults(use_static_handler=False)
