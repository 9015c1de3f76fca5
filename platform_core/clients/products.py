"""Client of product-service."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from platform_core.clients.engine import call, decoded
from platform_core.clients.errors import PeerFailed, PeerRefused
from platform_core.topology import PRODUCT

PEER = PRODUCT.name


class ReservedItem(msgspec.Struct, frozen=True, rename="camel"):
    """One product of a reservation, with the name and price at that time."""

    product_id: str
    name: str
    unit_price: Decimal
    quantity: int


class Reservation(msgspec.Struct, frozen=True, rename="camel"):
    """The stock that is reserved for one order. ``currency`` is empty if product-service is older than this service."""

    order_id: str
    status: str
    items: list[ReservedItem]
    currency: str = ""


class _Newest(msgspec.Struct, frozen=True, rename="camel"):
    order_id: str | None


def reserve_stock(order_id: int, quantities: Mapping[int, int]) -> Reservation:
    """Reserve stock for an order, ``{product id: quantity}``. Idempotent.

    Raises PeerRefused: 409 `insufficient_stock`, `reservation_released`, `reservation_conflict`; 422
    `unknown_product`, with ``errors`` that count the items in the order of ``quantities``. Raises PeerUnreachable:
    the stock may have been taken.
    """
    items = [{"productId": str(product_id), "quantity": quantity} for product_id, quantity in quantities.items()]
    answer = call(PEER, "PUT", f"/api/stock-reservations/{order_id}", body={"items": items})
    reservation = decoded(PEER, answer, Reservation)
    if {item.product_id: item.quantity for item in reservation.items} != {str(p): n for p, n in quantities.items()}:
        raise PeerFailed(PEER, "reserved something else than asked for", answer.status)
    return reservation


def get_reservation(order_id: int, *, timeout: float) -> Reservation | None:
    """The reservation of an order, also if it was released; None if there never was one.

    Raises PeerRefused, PeerUnreachable.
    """
    try:
        return decoded(PEER, call(PEER, "GET", f"/api/stock-reservations/{order_id}", timeout=timeout), Reservation)
    except PeerRefused as refusal:
        if refusal.status == 404:
            return None
        raise


def newest_reservation(*, timeout: float) -> int:
    """The highest order id for which there was ever a reservation; 0 if there is none.

    Raises PeerRefused, PeerUnreachable.
    """
    answer = call(PEER, "GET", "/api/stock-reservations/newest", timeout=timeout)
    return int(decoded(PEER, answer, _Newest).order_id or 0)


def release_stock(order_id: int) -> None:
    """Release the stock of an order; its tombstone refuses later reserves. Only a 204 means success.

    Raises PeerRefused, PeerUnreachable.
    """
    call(PEER, "DELETE", f"/api/stock-reservations/{order_id}", expect=204)
