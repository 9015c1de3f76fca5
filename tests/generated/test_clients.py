"""openapi-python-client makes clients of the five documents. They are typed, and work with the running services."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platform_core.topology import ORDER, PRODUCT, SERVICES, USER, Service
from tests.documents import committed
from tests.e2e.stack import Stack

SECONDS = 300


def package(service: Service) -> str:
    return f"{service.stem}_client"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The generated clients. The generator says nothing but that it generates."""
    folder = tmp_path_factory.mktemp("clients")
    for service in SERVICES:
        command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(committed(service))]
        command += ["--meta", "none", "--output-path", str(folder / package(service))]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it formats by ruff
        done = subprocess.run(
            command, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def test_their_types_are_complete(folder):
    """All that follows from the documents is strictly typed; ``client.py`` is the same for all documents."""
    packages = [package(service) for service in SERVICES]
    lenient = [f"[mypy-{name}.client]\ndisable_error_code = arg-type\n" for name in packages]
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\n" + "".join(lenient))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *packages],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout


class Generated:
    """The generated client of one service."""

    def __init__(self, stack: Stack, service: Service) -> None:
        self.package = package(service)
        client = importlib.import_module(self.package)
        self._client = client.Client(base_url=stack.direct(service), raise_on_unexpected_status=True)
        self._models = importlib.import_module(f"{self.package}.models")

    def __getattr__(self, name: str) -> Any:
        """A class of the client's models."""
        return getattr(self._models, name)

    def ask(self, operation: str, *path: str, **parameters: Any) -> Any:
        """The response to ``group.operation``. Its status must be in the document."""
        module = importlib.import_module(f"{self.package}.api.{operation}")
        return module.sync_detailed(*path, client=self._client, **parameters)


def test_they_order_turn_pages_cancel_and_delete(folder, stack):
    users, products, orders = (Generated(stack, service) for service in (USER, PRODUCT, ORDER))
    ann = users.ask("users.create_user", body=users.UserRequest(name="Ann", email="ann@example.com")).parsed
    lamp = products.ask(
        "products.create_product", body=products.ProductRequest(name="Lamp", price=19.99, stock=10)
    ).parsed
    assert (ann.email, lamp.price, lamp.stock) == ("ann@example.com", 19.99, 10)

    line = orders.OrderItemRequest(product_id=lamp.id, quantity=2)
    placed = []
    for number in range(3):
        body = orders.OrderRequest(user_id=ann.id, items=[line])
        answer = orders.ask("orders.create_order", body=body, idempotency_key=f"order-{number}")
        assert (answer.status_code, answer.parsed.status.value, answer.parsed.total) == (201, "confirmed", 39.98)
        placed.append(answer.parsed)
    assert placed[0].customer.email == "ann@example.com"
    refused = orders.ask("orders.create_order", body=orders.OrderRequest(user_id="999999", items=[line]))
    assert (refused.status_code, refused.parsed.code) == (422, "unknown_user")

    first = orders.ask("orders.list_orders", limit=2).parsed
    cursor = first.next_.split("cursor=")[1].split("&")[0]
    second = orders.ask("orders.list_orders", limit=2, cursor=cursor).parsed
    assert [order.id for page in (first, second) for order in page.results] == [order.id for order in placed[::-1]]

    assert orders.ask("orders.cancel_order", placed[0].id).parsed.status.value == "cancelled"
    changed = products.ask("products.update_product", lamp.id, body=products.PatchedProductRequest(price=5)).parsed
    assert (changed.price, changed.name) == (5.0, "Lamp")
    assert products.ask("products.delete_product", lamp.id).status_code == 204
    assert products.ask("products.get_product", lamp.id).status_code == 404
    assert users.ask("users.delete_user", ann.id).status_code == 204
