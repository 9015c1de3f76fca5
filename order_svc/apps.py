from django.apps import AppConfig

from platform_core.events import compare_with


class OrderConfig(AppConfig):
    name = "order_svc"
    verbose_name = "Orders"

    def ready(self) -> None:
        from order_svc.history import lost_acknowledged_order, lost_reserved_order

        compare_with(lost_acknowledged_order, lost_reserved_order)
