from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, register


class PlatformConfig(AppConfig):
    """The library as a Django app."""

    name = "platform_core"
    label = "platform_core"
    verbose_name = "Platform"

    def ready(self) -> None:
        """Register the system check of the access rules and the receivers of Django's signals."""
        from platform_core.conf.checks import START, WEB
        from platform_core.db import connections as database
        from platform_core.db.currency import check_currency

        register(_check_access_rules, WEB)
        register(check_currency, START)
        database.connect_signals()


def _check_access_rules(**options: Any) -> list[CheckMessage]:
    """Imports the check only when it runs, because it needs DRF's views, which a worker does not load."""
    from platform_core.auth.checks import check_access_rules

    return check_access_rules(**options)
