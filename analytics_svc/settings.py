"""analytics-service: read models over everybody's events."""

from platform_core.conf import service_settings

globals().update(service_settings("analytics_svc"))

LOW_STOCK = 10
"""Products with so many pieces or fewer are listed as low."""
