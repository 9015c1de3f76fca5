from django.apps import AppConfig


class NotificationConfig(AppConfig):
    name = "notification_svc"
    verbose_name = "Notifications"
