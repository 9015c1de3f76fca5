from django.apps import AppConfig


class PlatformConfig(AppConfig):
    name = "platform_core"
    label = "platform_core"
    verbose_name = "Platform"

    def ready(self) -> None:
        from platform_core.db import connections as database

        database.connect_signals()
