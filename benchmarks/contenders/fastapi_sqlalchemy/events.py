"""The event log and the outbox, which each service has in its own schema."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Identity, Text, cast, func, insert, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.contenders.fastapi_sqlalchemy.database import Base, now


class Event(Base):
    """An event. Its position in the feed is that of the surrounding transaction."""

    __tablename__ = "events_event"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    epoch: Mapped[int] = mapped_column(default=text("COALESCE((SELECT max(value) FROM events_feedepoch), 1)"))
    txid: Mapped[int] = mapped_column(default=cast(cast(func.pg_current_xact_id(), Text), BigInteger))
    type: Mapped[str]
    subject: Mapped[str]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    time: Mapped[datetime] = mapped_column(default=func.clock_timestamp())
    request_id: Mapped[str] = mapped_column(default="")
    traceparent: Mapped[str] = mapped_column(default="")


class OutboxMessage(Base):
    """A message to another service. A worker delivers it."""

    __tablename__ = "outbox_outboxmessage"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    kind: Mapped[str]
    destination: Mapped[str]
    aggregate: Mapped[str]
    key: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    state: Mapped[str] = mapped_column(default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    available_at: Mapped[datetime] = mapped_column(default=now)
    last_error: Mapped[str] = mapped_column(default="")
    request_id: Mapped[str] = mapped_column(default="")
    traceparent: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=now)


_APPEND = insert(Event.__table__)
_ENQUEUE = insert(OutboxMessage.__table__)


def event(type: str, subject: int, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": type, "subject": str(subject), "data": data}


async def append(session: AsyncSession, *events: dict[str, Any]) -> None:
    """Appends events to the surrounding transaction in one statement."""
    await session.execute(_APPEND, events)


async def enqueue(session: AsyncSession, message: dict[str, Any]) -> None:
    """Writes a message in the surrounding transaction."""
    await session.execute(_ENQUEUE, message)
