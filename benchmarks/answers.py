"""Checks that responses conform to the wire contract."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.client import Answer
from benchmarks.seeding import Size
from benchmarks.site import Site

PAGE = 50
Check = Callable[[Site, Answer, Any], None]


class Differs(Exception):
    """A response does not conform to the contract."""


def demand(holds: object, what: str, found: Any) -> None:
    if not holds:
        raise Differs(f"expected {what}, found {json.dumps(found)[:1500]}")


def has(found: Any, *names: str) -> None:
    demand(isinstance(found, dict) and set(names) <= set(found), f"the keys {', '.join(names)}", found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_product(site: Site, answer: Answer, found: Any) -> None:
    has(found, "id", "name", "description", "category", "sku", "price", "stock", "createdAt", "updatedAt")
    demand(isinstance(found["id"], str) and found["id"].isdigit(), "an id of digits", found)
    demand(_is_number(found["price"]) and isinstance(found["stock"], int), "price and stock as numbers", found)


def is_page_of_products(site: Site, answer: Answer, found: Any) -> None:
    has(found, "results", "next", "previous")
    demand(len(found["results"]) == PAGE and found["next"], f"{PAGE} results and a next page", found)
    for each in found["results"]:
        is_product(site, answer, each)
    ids = [int(each["id"]) for each in found["results"]]
    demand(ids == sorted(ids, reverse=True), "the newest first", ids)


def is_filtered_page(site: Site, answer: Answer, found: Any) -> None:
    is_page_of_products(site, answer, found)
    demand(len({each["category"] for each in found["results"]}) == 1, "one category", found)


def is_order(lines: int) -> Check:
    def check(site: Site, answer: Answer, found: Any) -> None:
        has(found, "id", "userId", "status", "items", "total", "currency", "createdAt", "updatedAt")
        demand(found["status"] == "confirmed" and len(found["items"]) == lines, f"{lines} confirmed lines", found)
        for item in found["items"]:
            has(item, "productId", "name", "unitPrice", "quantity", "subtotal")
        demand(_is_number(found["total"]), "a number as total", found)
        total = round(sum(item["subtotal"] for item in found["items"]), 2)
        demand(found["total"] == total, f"{total} as total", found)

    return check


def is_replayed_order(site: Site, answer: Answer, found: Any) -> None:
    is_order(1)(site, answer, found)
    demand(b"\r\nidempotent-replayed: true" in answer.head, "Idempotent-Replayed: true", answer.head.decode())
    demand(found["id"] in site.kept["replay"], "an order that was there before", found)


def is_summary(site: Site, answer: Answer, found: Any) -> None:
    has(found, "asOf", "stale", "users", "products", "orders", "notifications")
    demand(found["stale"] == [], "nothing stale", found)
    has(found["orders"], "total", "byStatus", "revenue", "averageOrderValue")
    for name, least in (("users", site.size.users), ("products", site.size.products), ("orders", site.size.orders)):
        demand(found[name]["total"] >= least, f"at least {least} {name}", found)


def is_page_of_orders(rows: Callable[[Size], int]) -> Check:
    """A page of orders after the given number of rows."""

    def check(site: Site, answer: Answer, found: Any) -> None:
        has(found, "results", "next", "previous")
        demand(len(found["results"]) == PAGE, f"{PAGE} results", found)
        for each in found["results"]:
            is_order(1)(site, answer, each)
        first = str(site.size.orders - rows(site.size))
        demand(found["results"][0]["id"] == first, f"order {first} as the first one", found["results"][0])

    return check
