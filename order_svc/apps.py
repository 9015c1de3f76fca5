from django.apps import AppConfig


class OrderConfig(AppConfig):
    name = "order_svc"
    verbose_name = "Orders"
