"""The engine, and a session for each request."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic_core import from_json, to_json
from sqlalchemy import BigInteger, DateTime, Numeric, Text, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    type_annotation_map = {
        int: BigInteger,
        str: Text,
        Decimal: Numeric,
        datetime: DateTime(timezone=True),
    }


def create_engine() -> AsyncEngine:
    return create_async_engine(
        make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg"),
        pool_size=int(os.environ.get("DATABASE_POOL", "8")),
        max_overflow=0,
        pool_use_lifo=True,
        json_serializer=_to_json,
        json_deserializer=from_json,
    )


def _to_json(value: Any) -> str:
    return to_json(value).decode()


def session_makers(engine: AsyncEngine) -> tuple[async_sessionmaker[AsyncSession], async_sessionmaker[AsyncSession]]:
    """A session for changes, and one for single SELECTs, which need no BEGIN and ROLLBACK."""
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    return async_sessionmaker(engine, expire_on_commit=False), async_sessionmaker(autocommit, expire_on_commit=False)


async def _writing(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.state.writing() as session:
        yield session


async def _reading(request: Request) -> AsyncIterator[AsyncSession]:
    async with request.state.reading() as session:
        yield session


Writing = Annotated[AsyncSession, Depends(_writing)]
Reading = Annotated[AsyncSession, Depends(_reading)]


def now() -> datetime:
    return datetime.now(UTC)
