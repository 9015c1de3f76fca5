"""analytics-service: it calls the four others concurrently."""

import asyncio
from datetime import datetime
from typing import Any

import httpx
from fastapi import APIRouter

from benchmarks.contenders.fastapi_sqlalchemy.database import now
from benchmarks.contenders.fastapi_sqlalchemy.peers import Http, ask
from benchmarks.contenders.fastapi_sqlalchemy.problems import Problem
from benchmarks.contenders.fastapi_sqlalchemy.service import create_app
from benchmarks.contenders.fastapi_sqlalchemy.wire import Answer

router = APIRouter(prefix="/api/analytics")
_ASKED = ("user", "product", "order", "notification")


class Summary(Answer):
    """The summary. The figures of services in ``stale`` are null."""

    as_of: datetime
    stale: list[str]
    users: dict[str, Any] | None
    products: dict[str, Any] | None
    orders: dict[str, Any] | None
    notifications: dict[str, Any] | None


@router.get("/summary", response_model=Summary)
async def get_summary(http: Http) -> Any:
    as_of = now()
    stats = await asyncio.gather(*(_stats(http, service) for service in _ASKED))
    stale = [f"{service}-service" for service, found in zip(_ASKED, stats, strict=True) if found is None]
    figures = {f"{service}s": found for service, found in zip(_ASKED, stats, strict=True)}
    return {"as_of": as_of, "stale": stale, **figures}


async def _stats(http: httpx.AsyncClient, service: str) -> dict[str, Any] | None:
    try:
        return (await ask(http, "GET", service, "/api/stats")).json()
    except Problem:
        return None


app = create_app("analytics-service", router)
