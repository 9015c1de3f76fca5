"""user-service: accounts and profiles."""

from platform_core.settings import service_settings

globals().update(service_settings("user_svc", apps=["platform_core.events"]))
