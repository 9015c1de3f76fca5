"""`import_products` with exports that have all columns of Shopify's and WooCommerce's documentation."""

from decimal import Decimal
from pathlib import Path

import pytest

from product_svc.models import Product
from tests.product_svc.runs import counts

pytestmark = pytest.mark.django_db
EXPORTS = Path(__file__).parent / "exports"


def products() -> dict[str, tuple]:
    rows = Product.objects.order_by("pk").values_list("sku", "name", "price", "stock", "category", "description")
    return {sku: values for sku, *values in rows}


def test_an_export_of_shopify(load):
    """With variants, images, metafields, markets, a gift card without a sku, and a product that was oversold."""
    content = (EXPORTS / "shopify.csv").read_text()
    run = load(content)
    tee = 'Striped tee, organic cotton.\n- 180 g/m²\n- Machine wash, 30 °C\n"Fits true to size", say our customers.'
    mugs = "Home & Garden > Kitchen & Dining > Tableware > Drinkware > Mugs"
    assert products() == {
        "ST-NVY-S": ["Sailor Tee – Navy / S", 29, 14, "T-Shirts", tee],
        "ST-NVY-M": ["Sailor Tee – Navy / M", 29, 0, "T-Shirts", tee],
        "ST-RED-S": ["Sailor Tee – Red / S", Decimal("31.50"), 3, "T-Shirts", tee],
        "00417": ["Tide Mug", 12, 40, mugs, "Holds 0.35 l."],
        "RB-90": ["Rope Belt – 90 cm", 45, 5, "Belts", "Hand-spliced."],
        "RB-100": ["Rope Belt – 100 cm", 45, 2, "Belts", "Hand-spliced."],
    }
    assert run.counts == counts(new=6, rejected=2)
    assert "sku: It is missing" in run.said and "stock: " in run.said
    (ignored,) = (line for line in run.shown if line.startswith("Ignored columns: "))
    for title in ("Vendor", "Care guide (product.metafields.custom.care_guide)", "Price / International", "Status"):
        assert title in ignored
    assert "Product Category" not in ignored and "Option1 Value" not in ignored
    assert load(content).counts == counts(unchanged=6, rejected=2)


def test_an_export_of_woocommerce(load):
    """With variations, a sale, a download, a group, a shared stock, and a variation whose parent is missing."""
    content = (EXPORTS / "woocommerce.csv").read_bytes()
    run = load(content)
    tees = "Clothing > Tops, Tees"
    shirt = 'Soft, "pre-shrunk" jersey.\n- Regular fit'
    assert products() == {
        "woo-tee": ["T-Shirt", 18, 7, tees, "This is a simple product."],
        "woo-album": ["Album", 15, 0, "Music", "This is a simple, virtual product."],
        "wp-pennant": ["WordPress Pennant", Decimal("11.05"), 0, "Decor", "An external product."],
        "woo-vneck-tee-red-l": ["V-Neck T-Shirt - Red, Large", Decimal("1249.50"), 4, f"Clothing, {tees}", shirt],
        "hoodie-no": ["Hoodie – No, thanks", 42, 0, "Clothing > Hoodies", "Warm \nand soft."],
    }
    assert run.counts == counts(new=5, rejected=3)
    for reason in ("line 9: stock: ", "line 10: stock: ", "line 12: its parent 'id:99' is in no row above"):
        assert reason in run.said
    assert load(content).counts == counts(unchanged=5, rejected=3)
