"""The catalog, read in pages: no query and no memory holds all of it."""

from collections.abc import Iterator
from typing import Any

from product_svc.files import SOURCES
from product_svc.services import live_products

PAGE = 1000


def catalog() -> Iterator[dict[str, Any]]:
    """All products by "pk" and their `SOURCES`, oldest first. Each page is of its own moment."""
    last = 0
    while page := list(live_products().filter(pk__gt=last).order_by("pk").values("pk", *SOURCES.values())[:PAGE]):
        yield from page
        last = page[-1]["pk"]
