from django.apps import AppConfig


class AnalyticsConfig(AppConfig):
    name = "analytics_svc"
    verbose_name = "Analytics"
