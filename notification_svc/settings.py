"""notification-service: messages and their delivery."""

from platform_core.conf import service_settings

globals().update(service_settings("notification_svc", apps=["platform_core.events", "platform_core.outbox"]))
