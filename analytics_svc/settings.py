"""analytics-service: read models of the events of all services."""

from platform_core.conf import service_settings

globals().update(service_settings("analytics_svc"))
