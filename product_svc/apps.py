from django.apps import AppConfig


class ProductConfig(AppConfig):
    name = "product_svc"
    verbose_name = "Catalog"
