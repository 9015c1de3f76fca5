"""Shared by the five apps: lifespan, errors, health."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI

from benchmarks.contenders.fastapi_sqlalchemy import problems
from benchmarks.contenders.fastapi_sqlalchemy.database import create_engine, session_makers
from benchmarks.contenders.fastapi_sqlalchemy.peers import create_client


def create_app(title: str, *routers: APIRouter) -> FastAPI:
    app = FastAPI(title=title, lifespan=_lifespan)
    problems.install(app)
    for router in routers:
        app.include_router(router)
    app.add_api_route("/health/live", _live, methods=["GET"])
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    engine = create_engine()
    writing, reading = session_makers(engine)
    async with create_client() as http:
        yield {"writing": writing, "reading": reading, "http": http}
    await engine.dispose()


async def _live() -> dict[str, str]:
    return {"status": "ok"}
