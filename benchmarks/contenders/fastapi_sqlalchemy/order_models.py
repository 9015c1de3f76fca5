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
    reason: Mapped[str] = mapped_column(default="")
    refusal: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    confirmed_at: Mapped[datetime | None]
    caller: Mapped[str] = mapped_column(default="")
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[bytes | None]
    request_id: Mapped[str] = mapped_column(default="")
    traceparent: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    version: Mapped[int] = mapped_column(default=1)

    lines: Mapped[list["OrderLine"]] = relationship(order_by="OrderLine.id", lazy="raise")


class OrderLine(Base):
    """A quantity of one product. Name and price are copied when the order is confirmed."""

    __tablename__ = "order_svc_orderline"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id))
    product_id: Mapped[int]
    quantity: Mapped[int]
    name: Mapped[str | None]
    unit_price: Mapped[Decimal | None]
    subtotal: Mapped[Decimal | None]


orders, order_lines = Order.__table__, OrderLine.__table__
