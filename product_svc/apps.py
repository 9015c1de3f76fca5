from django.apps import AppConfig


class ProductConfig(AppConfig):
    name = "product_svc"
    verbose_name = "Catalog"

    def ready(self) -> None:
        from platform_core.jobs import register
        from platform_core.office import admin_viewers, finds
        from product_svc.file_jobs import KINDS
        from product_svc.finding import find_products

        register(*KINDS)
        finds(find_products, admin_viewers("product_svc"))
