from django.apps import AppConfig


class OrderConfig(AppConfig):
    name = "order_svc"
    verbose_name = "Orders"

    def ready(self) -> None:
        from order_svc.bulk import KINDS
        from order_svc.exporting import KIND as EXPORT_KIND
        from order_svc.finding import find_orders
        from order_svc.history import lost_acknowledged_order, lost_reserved_order
        from order_svc.privacy import PERSONAL_DATA
        from platform_core.events import compare_with
        from platform_core.jobs import register
        from platform_core.office import finds, route_viewers
        from platform_core.privacy import holds_personal_data

        holds_personal_data(PERSONAL_DATA)
        register(*KINDS, EXPORT_KIND)
        compare_with(lost_acknowledged_order, lost_reserved_order)
        finds(find_orders, route_viewers("/orders/{id}/explain"))
