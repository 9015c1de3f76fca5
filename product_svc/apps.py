from django.apps import AppConfig


class ProductConfig(AppConfig):
    name = "product_svc"
    verbose_name = "Catalog"

    def ready(self) -> None:
        from platform_core.jobs import register
        from product_svc.file_jobs import KINDS

        register(*KINDS)
