"""``manage.py <service> runserver``: Django's, on the service's own port."""

from typing import Any

from django.conf import settings
from django.contrib.staticfiles.management.commands.runserver import Command as StaticRunserver

from platform_core.conf import production


class Command(StaticRunserver):
    default_port = property(lambda self: str(settings.PORT))

    def inner_run(self, *args: Any, **options: Any) -> None:
        production.check(settings)
        production.warn_when_open(settings)
        super().inner_run(*args, **options)

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.set_defaults(use_static_handler=False)
