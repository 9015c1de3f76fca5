"""Calls to the other services."""

import asyncio
import os
from typing import Annotated, Any

import httpx
from fastapi import Depends, Request

from benchmarks.contenders.fastapi_sqlalchemy.problems import unavailable

_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=50, keepalive_expiry=30.0)
_TIMEOUT = httpx.Timeout(5.0, connect=1.0)
_DEADLINE = 5.0
"""Time limit of a whole call in seconds."""


def create_client() -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(limits=_LIMITS, retries=1, trust_env=False)
    return httpx.AsyncClient(transport=transport, timeout=_TIMEOUT, trust_env=False)


async def _http(request: Request) -> httpx.AsyncClient:
    return request.state.http


Http = Annotated[httpx.AsyncClient, Depends(_http)]


async def ask(http: httpx.AsyncClient, method: str, service: str, path: str, **arguments: Any) -> httpx.Response:
    """Calls ``service``. Raises Problem 503 after the time limit or a 5xx."""
    url = os.environ[f"{service.upper()}_SERVICE_URL"] + path
    try:
        async with asyncio.timeout(_DEADLINE):
            response = await http.request(method, url, **arguments)
    except (httpx.HTTPError, TimeoutError) as error:
        raise unavailable(f"{service}-service does not answer at the moment.") from error
    if response.status_code >= 500:
        raise unavailable(f"{service}-service does not answer at the moment.")
    return response
