from django.apps import AppConfig


class NotificationConfig(AppConfig):
    name = "notification_svc"
    verbose_name = "Notifications"

    def ready(self) -> None:
        from django.core.checks import register

        from notification_svc.bulk import KINDS
        from notification_svc.channels import check_handlers
        from notification_svc.finding import find_notifications
        from notification_svc.mails import check_templates
        from notification_svc.privacy import PERSONAL_DATA
        from notification_svc.webhooks.redelivering import KIND as REDELIVERY
        from platform_core.conf import START
        from platform_core.jobs import register as register_jobs
        from platform_core.office import admin_viewers, finds
        from platform_core.privacy import holds_personal_data

        holds_personal_data(PERSONAL_DATA)
        register_jobs(*KINDS, REDELIVERY)
        finds(find_notifications, admin_viewers("notification_svc"))
        register(check_handlers, START)
        register(check_templates, START)
