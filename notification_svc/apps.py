from django.apps import AppConfig


class NotificationConfig(AppConfig):
    name = "notification_svc"
    verbose_name = "Notifications"

    def ready(self) -> None:
        from django.core.checks import register

        from notification_svc.channels import check_handlers
        from notification_svc.mails import check_templates
        from platform_core.conf import START

        register(check_handlers, START)
        register(check_templates, START)
