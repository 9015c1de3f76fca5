from django.apps import AppConfig
from django.db.backends.signals import connection_created


class EventsConfig(AppConfig):
    name = "platform_core.events"
    label = "events"

    def ready(self) -> None:
        from platform_core.events.history import forget_look

        connection_created.connect(forget_look, dispatch_uid="platform.forget_look")
