from typing import Any

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.core.checks import CheckMessage, register


class PlatformConfig(AppConfig):
    """The library as a Django app."""

    name = "platform_core"
    label = "platform_core"
    verbose_name = "Platform"
    default = True

    def ready(self) -> None:
        """Register the system check of the access rules and the receivers of Django's signals."""
        from platform_core.conf.checks import START, WEB
        from platform_core.db import connections as database
        from platform_core.db.currency import check_currency

        register(_check_access_rules, WEB)
        register(check_currency, START)
        database.connect_signals()


class AdminConfig(admin_apps.AdminConfig):
    """Django's admin with the site of the platform."""

    default = False
    default_site = "platform_core.auth.admin_site.PlatformAdminSite"


def _check_access_rules(**options: Any) -> list[CheckMessage]:
    """Imports the check only when it runs, because it needs DRF's views, which a worker does not load."""
    from platform_core.auth.checks import check_access_rules

    return check_access_rules(**options)
