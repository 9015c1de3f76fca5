from django.apps import AppConfig


class UserConfig(AppConfig):
    name = "user_svc"
    verbose_name = "Customers"
