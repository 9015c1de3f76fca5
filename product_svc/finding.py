"""Products for the search of the back office: by sku."""

from collections.abc import Iterator

from platform_core.clients import Match
from platform_core.office import Sought, admin_page
from product_svc.models import Product


def find_products(sought: Sought) -> Iterator[Match]:
    """The product with exactly this sku, unless it is deleted. One index scan."""
    for product in Product.objects.filter(sku=sought.text, deleted_at=None).order_by():
        detail = f"sku {product.sku}, {product.stock} in stock"
        yield Match("product", product.name, detail, admin_page(product))
