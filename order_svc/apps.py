from django.apps import AppConfig


class OrderConfig(AppConfig):
    name = "order_svc"
    verbose_name = "Orders"

    def ready(self) -> None:
        from order_svc.history import lost_acknowledged_order, lost_reserved_order
        from platform_core.events import compare_with

        compare_with(lost_acknowledged_order, lost_reserved_order)
