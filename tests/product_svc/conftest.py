from typing import Any

import pytest


@pytest.fixture
def add(api):
    """Adds a product and returns the response body."""

    def add(**body: Any) -> dict[str, Any]:
        answer = api.post("/api/products", {"name": "Lamp", "price": 10, **body})
        assert answer.status_code == 201, answer.content
        product: dict[str, Any] = answer.json()
        return product

    return add


@pytest.fixture
def lamp(add) -> dict[str, Any]:
    """An existing product."""
    return add(name="Desk lamp", price="49.90", stock=5, category="lights", sku="L-1", description="Bends any way.")


@pytest.fixture
def reserve(api):
    """Reserves ``{product id: pieces}`` for an order."""

    def reserve(order_id: Any, pieces: dict[Any, int]):
        items = [{"productId": str(product), "quantity": quantity} for product, quantity in pieces.items()]
        return api.put(f"/api/stock-reservations/{order_id}", {"items": items})

    return reserve


@pytest.fixture
def stock(api):
    """The present stock of a product."""
    return lambda product: api.get(f"/api/products/{product['id']}").json()["stock"]


@pytest.fixture
def books_balance():
    """Whether every stock is the sum of its movements, and every movement has the right resulting stock."""
    from product_svc.models import Product

    def books_balance() -> bool:
        for product in Product.objects.all():
            level = 0
            for delta, after in product.movements.order_by("id").values_list("delta", "stock"):
                level += delta
                assert after == level
            assert product.stock == level
        return True

    return books_balance


@pytest.fixture
def load(tmp_path):
    """Imports text or bytes as a file with the given name."""

    from tests.product_svc.runs import Imported

    def load(content: str | bytes, *arguments: str, name: str = "catalog.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Imported(path, *arguments)

    return load
