from django.apps import AppConfig


class UserConfig(AppConfig):
    name = "user_svc"
    verbose_name = "Customers"

    def ready(self) -> None:
        from platform_core.jobs import register
        from platform_core.office import admin_viewers, finds
        from platform_core.privacy import holds_personal_data
        from user_svc.bulk import KINDS
        from user_svc.finding import find_users
        from user_svc.privacy import PERSONAL_DATA

        register(*KINDS)
        holds_personal_data(PERSONAL_DATA)
        finds(find_users, admin_viewers("user_svc"))
