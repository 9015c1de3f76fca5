"""product-service: the catalog, its stock, and the reservations of stock."""

from platform_core.conf import service_settings

globals().update(
    service_settings(
        "product_svc",
        apps=["platform_core.events", "platform_core.jobs"],
        uploads=["/admin/product_svc/product/files/upload/"],
    )
)
