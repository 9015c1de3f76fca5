from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    name = "analytics_svc"
    verbose_name = "Analytics"

    def ready(self) -> None:
        from analytics_svc.lag import feed_lags
        from platform_core.observability import at_each_scrape

        at_each_scrape(feed_lags)
