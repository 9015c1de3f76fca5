"""Reads the catalog in pages, so that neither a query nor the memory holds all of it."""

from collections.abc import Iterator
from typing import Any

from product_svc.files import SOURCES
from product_svc.services import live_products

PAGE = 1000


def catalog() -> Iterator[dict[str, Any]]:
    """Yields all products as values by "pk" and `SOURCES`, oldest first. Each page is read at a different time."""
    last = 0
    while page := list(live_products().filter(pk__gt=last).order_by("pk").values("pk", *SOURCES.values())[:PAGE]):
        yield from page
        last = page[-1]["pk"]
