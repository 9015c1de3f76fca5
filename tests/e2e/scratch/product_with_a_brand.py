"""Products have a `brand`: it is taken and shown wherever a product is."""

import csv
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.e2e.scratch.service import running, sent, staff
from tests.wire import form_fields

URL = "/api/products"
LAMP = {"name": "Lamp", "price": 9.5, "stock": 3, "sku": "L-1"}


def one(api: Any, product_id: str) -> dict[str, Any]:
    return sent(api.get(f"{URL}/{product_id}"), 200)


def brand_in_event(type: str) -> str:
    from platform_core.events.models import Event

    return Event.objects.filter(type=type).latest("id").data["brand"]


def through_the_api(api: Any) -> None:
    made = sent(api.post(URL, {**LAMP, "brand": "Acme"}), 201)
    url = f"{URL}/{made['id']}"
    assert made["brand"] == one(api, made["id"])["brand"] == brand_in_event("product.created") == "Acme"
    assert sent(api.put(url, {**LAMP, "brand": "Bolt"}), 200)["brand"] == one(api, made["id"])["brand"] == "Bolt"
    assert sent(api.patch(url, {"brand": "Core"}), 200)["brand"] == one(api, made["id"])["brand"] == "Core"
    assert sent(api.patch(url, {"stock": 4}), 200)["brand"] == one(api, made["id"])["brand"] == "Core"
    assert brand_in_event("product.updated") == brand_in_event("stock.changed") == "Core"
    assert [each["brand"] for each in sent(api.get(URL), 200)["results"]] == ["Core"]
    assert sent(api.post(URL, {"name": "Box", "price": 1}), 201)["brand"] == ""
    assert api.post(URL, {**LAMP, "sku": "L-9", "brand": "x" * 101}).status_code == 400


def in_stock(api: Any, product_id: str) -> None:
    from platform_core.events.models import Event

    sent(api.put("/api/stock-reservations/7", {"items": [{"productId": product_id, "quantity": 1}]}), 201)
    assert Event.objects.latest("id").data["reason"] == "reservation" and brand_in_event("stock.changed") == "Core"
    api.delete("/api/stock-reservations/7")
    assert Event.objects.latest("id").data["reason"] == "release" and brand_in_event("stock.changed") == "Core"
    sent(api.post(f"{URL}/{product_id}/stock-adjustments", {"delta": 1}), 201)
    assert brand_in_event("stock.changed") == "Core"


def in_bulk(api: Any) -> None:
    items = [{"name": "Desk", "price": 1, "brand": "Dune"}, {"name": "Sofa", "price": 1}]
    made = sent(api.post(f"{URL}/bulk", {"items": items}), 201)["results"]
    assert [each["brand"] for each in made] == ["Dune", ""]
    assert [one(api, each["id"])["brand"] for each in made] == ["Dune", ""]


def import_file(name: str, content: str) -> str:
    from django.core.management import call_command

    out = io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(content)
        call_command("import_products", str(path), stdout=out, stderr=io.StringIO())
    return out.getvalue().splitlines()[-1]


def exported(kind: str) -> list[dict[str, Any]]:
    from django.core.management import call_command

    out = io.StringIO()
    call_command("export_products", "--format", kind, stdout=out, stderr=io.StringIO())
    lines = out.getvalue().splitlines()
    return list(csv.DictReader(lines)) if kind == "csv" else [json.loads(line) for line in lines]


def in_files(api: Any) -> None:
    from product_svc.models import Product

    def brand(sku: str) -> str:
        return one(api, str(Product.objects.get(sku=sku).pk))["brand"]

    assert import_file("new.csv", "sku,name,price,brand\nN-1,Nail,1,Echo\n") == (
        "1 new, 0 changed, 0 unchanged, 0 rejected."
    )
    assert brand("N-1") == brand_in_event("product.created") == "Echo"
    assert import_file("changed.csv", "sku,name,price,brand\nN-1,Nail,1,Flux\n") == (
        "0 new, 1 changed, 0 unchanged, 0 rejected."
    )
    assert brand("N-1") == brand_in_event("product.updated") == "Flux"
    assert import_file("old.csv", "sku,name,price\nN-1,Nail,1\n") == "0 new, 0 changed, 1 unchanged, 0 rejected."
    assert brand("N-1") == "Flux"
    nail, other = {"sku": "N-1", "name": "Nail", "price": 1}, {"sku": "N-2", "name": "Other", "price": 1}
    lines = [json.dumps({**nail, "brand": "Gulf"}), json.dumps({**other, "brand": "H"})]
    assert import_file("both.jsonl", "\n".join(lines)) == "1 new, 1 changed, 0 unchanged, 0 rejected."
    assert (brand("N-1"), brand("N-2")) == ("Gulf", "H")
    for kind in ("csv", "jsonl"):
        rows = exported(kind)
        columns = list(rows[0])
        assert columns[:7] == ["id", "sku", "name", "price", "stock", "category", "description"]
        assert set(columns[7:]) == {"brand", "lowStockThreshold"}
        assert {row["sku"]: row["brand"] for row in rows if row["sku"]} == {"L-1": "Core", "N-1": "Gulf", "N-2": "H"}


def in_the_admin(api: Any, product_id: str) -> None:
    browser = staff()
    page = browser.get(f"/admin/product_svc/product/{product_id}/change/").content.decode()
    assert 'name="brand"' in page
    changed = {**form_fields(page), "name": "Lamp", "description": "", "brand": "Iris"}
    assert browser.post(f"/admin/product_svc/product/{product_id}/change/", changed).status_code == 302
    assert one(api, product_id)["brand"] == brand_in_event("product.updated") == "Iris"
    added = {"name": "New", "description": "", "price": "1", "stock": "0", "brand": "Jade"}
    assert browser.post("/admin/product_svc/product/add/", added).status_code == 302
    assert sent(api.get(URL), 200)["results"][0]["brand"] == brand_in_event("product.created") == "Jade"


def main() -> int:
    with running("product_svc") as api:
        from product_svc.models import Product

        through_the_api(api)
        lamp = str(Product.objects.get(sku="L-1").pk)
        in_stock(api, lamp)
        in_bulk(api)
        in_files(api)
        in_the_admin(api, lamp)
    print("all of it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
