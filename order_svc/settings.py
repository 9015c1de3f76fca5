"""order-service: orders, and the saga that places one."""

from platform_core.conf import service_settings

globals().update(
    service_settings("order_svc", apps=["platform_core.events", "platform_core.jobs", "platform_core.outbox"])
)
