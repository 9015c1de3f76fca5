"""The tables of order-service."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from benchmarks.contenders.fastapi_sqlalchemy.database import Base, now


class Order(Base):
    __tablename__ = "order_svc_order"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int]
    status: Mapped[str] = mapped_column(default="pending")
    total: Mapped[Decimal | None]
    currency: Mapped[str]
    reason: Mapped[str] = mapped_column(default="", deferred=True)
    refusal: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True), deferred=True)
    confirmed_at: Mapped[datetime | None]
    caller: Mapped[str] = mapped_column(default="", deferred=True)
    idempotency_key: Mapped[str | None] = mapped_column(deferred=True)
    fingerprint: Mapped[bytes | None] = mapped_column(deferred=True)
    request_id: Mapped[str] = mapped_column(default="", deferred=True)
    traceparent: Mapped[str] = mapped_column(default="", deferred=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    version: Mapped[int] = mapped_column(default=1)

    lines: Mapped[list["OrderLine"]] = relationship(order_by="OrderLine.id", lazy="raise")


class OrderLine(Base):
    """Pieces of one product; name and price are those of the moment of confirmation."""

    __tablename__ = "order_svc_orderline"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id))
    product_id: Mapped[int]
    quantity: Mapped[int]
    name: Mapped[str | None]
    unit_price: Mapped[Decimal | None]
    subtotal: Mapped[Decimal | None]


def told(order: Order) -> dict[str, Any]:
    """A confirmed order as its events tell it."""
    return {
        "version": order.version,
        "userId": str(order.user_id),
        "status": order.status,
        "total": float(order.total or 0),
        "currency": order.currency,
        "createdAt": order.created_at,
        "items": [
            {
                "productId": str(line.product_id),
                "name": line.name,
                "quantity": line.quantity,
                "unitPrice": float(line.unit_price or 0),
                "subtotal": float(line.subtotal or 0),
            }
            for line in order.lines
        ],
    }
