"""Three health routes: state of the service, liveness, readiness. None of them calls a peer."""

import logging
import time
from collections.abc import Callable
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import DatabaseError, Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

from platform_core import __version__
from platform_core.auth.identity import Kind
from platform_core.auth.keys import KeysError
from platform_core.auth.tokens import BadToken, identify
from platform_core.clients.errors import PeerError
from platform_core.clients.peers import PeerState, peer_states
from platform_core.http.errors import PlatformError
from platform_core.http.problems import safe_methods_only
from platform_core.observability.lifecycle import own_lifecycle
from platform_core.observability.metrics_endpoint import is_allowed

log = logging.getLogger("platform.lifecycle")
_PAUSE = 0.2
_started = time.monotonic()
_migrated = False
_currency_is_right = False


@safe_methods_only
def health(request: HttpRequest) -> JsonResponse:
    """``GET /health``: 200, or 503 when the database is unreachable. Anonymous callers get less in production."""
    body = report()
    if not _may_see_details(request):
        body = {name: body[name] for name in ("status", "service")}
    return JsonResponse(body, status=200 if body["status"] == "ok" else 503)


def _may_see_details(request: HttpRequest) -> bool:
    """In production: staff, services and whoever has the scrape token."""
    authorization = request.headers.get("Authorization", "")
    if is_allowed(authorization):
        return True
    try:
        if not authorization:
            return bool(getattr(request, "user", None) and request.user.is_staff)
        caller = identify(authorization.removeprefix("Bearer "))
    except (BadToken, PlatformError, PeerError, KeysError, OSError, Error):  # the keys or the database are not there
        return False
    return caller.kind is Kind.SERVICE or bool(caller.roles)


def report() -> dict[str, Any]:
    """The service's state: ``{"status": "ok" | "down", "service", "version", "mode", "uptimeSeconds", "checks"}``."""
    database = _database_check()
    up = database["status"] == "ok"
    return {
        "status": "ok" if up else "down",
        "service": settings.SERVICE_NAME,
        "version": __version__,
        "mode": settings.PLATFORM_ENV,
        "uptimeSeconds": round(time.monotonic() - _started, 1),
        "checks": {"database": database, **(_outbox() | _duties() | _history() if up else {}), **_peers()},
    }


@safe_methods_only
def live(request: HttpRequest) -> JsonResponse:
    """``GET /health/live``: 200 while the process runs."""
    return JsonResponse({"status": "ok"})


@safe_methods_only
def ready(request: HttpRequest) -> JsonResponse:
    """``GET /health/ready``: 503 when the database is down, migrations are missing, or the process is about to stop."""
    checks = readiness()
    up = all(check["status"] == "ok" for check in checks.values())
    return JsonResponse({"status": "ok" if up else "down", "checks": checks}, status=200 if up else 503)


def readiness() -> dict[str, dict[str, Any]]:
    """The checks of `/health/ready`, each ``{"status": "ok" | "down"}``. Some appear only when they are down."""
    database = _database_check()
    checks = {"database": database, "migrations": {"status": "ok" if _is_migrated(database) else "down"}}
    if checks["migrations"]["status"] == "ok" and (detail := _wrong_currency()):
        checks["currency"] = {"status": "down", "detail": detail}
    lifecycle = own_lifecycle()
    if lifecycle is not None and lifecycle.is_leaving():
        checks["leaving"] = {"status": "down"}
    return checks


def await_readiness(is_wanted: Callable[[], bool]) -> None:
    """Note that this process is ready. On trial, wait until it is; end early when ``is_wanted()`` becomes False.

    Called in a process of a web before it takes its first connection.
    """
    lifecycle = own_lifecycle()
    if lifecycle is None:
        return
    try:
        while lifecycle.is_on_trial() and is_wanted():
            missing = [name for name, check in readiness().items() if check["status"] != "ok"]
            if not missing:
                break
            lifecycle.note_reason(", ".join(f"{name}: down" for name in missing))
            time.sleep(_PAUSE)
        lifecycle.note_ready()
    except OSError as error:
        log.warning("lifecycle.unwritable", extra={"data": {"error": str(error)}})
    finally:
        connection.close()  # of this thread, which serves no requests


def _database_check() -> dict[str, Any]:
    began = time.perf_counter()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return {"status": "down"}
    return {"status": "ok", "latencyMs": round((time.perf_counter() - began) * 1000, 2)}


def _outbox() -> dict[str, Any]:
    """The state of the outbox, if there is one. Messages that wait do not make the service unhealthy."""
    if not apps.is_installed("platform_core.outbox"):
        return {}
    from platform_core.outbox.depth import depth

    try:
        found = depth()
    except DatabaseError:
        return {"outbox": {"status": "down"}}
    counts = {"pending": found.pending, "oldestSeconds": found.oldest_seconds, "dead": found.dead}
    if found.refusal is None:
        return {"outbox": {"status": "ok", **counts}}
    detail = f"Messages wait for a correction of the configuration: {found.refusal}"
    return {"outbox": {"status": "degraded", **counts, "detail": detail}}


def _duties() -> dict[str, Any]:
    """Items that background duties could not process, of a service with a worker. They do not affect others."""
    if not settings.SERVICE.has_worker:
        return {}
    from platform_core.db.isolation import counted

    try:
        failed = counted()
    except DatabaseError:
        return {"duties": {"status": "down"}}
    return {"duties": {"status": "down" if failed.parked else "ok", **failed._asdict()}}


def _history() -> dict[str, Any]:
    """Whether the database has lost transactions, as last noticed. A restart does not help, so it affects no status."""
    if not settings.SERVICE.has_feed:
        return {}
    from platform_core.events.history import stored_loss, unwatched

    try:
        lost, blind = stored_loss(), unwatched()
    except DatabaseError:
        return {"history": {"status": "down"}}
    detail = lost or blind
    return {"history": {"status": "down" if lost else "ok", **({"detail": detail} if detail else {})}}


def _peers() -> dict[str, Any]:
    """How the peers answer this process. Their problems do not make this service unhealthy."""
    return {peer: _peer(peer, state) for peer, state in peer_states().items()}


def _peer(name: str, state: PeerState) -> dict[str, Any]:
    breaker = state.breaker.state
    if breaker != "closed":
        return {"status": "down", "breaker": breaker}
    if state.refusal:
        return {"status": "degraded", "breaker": breaker, "detail": f"{name} {state.refusal}"}
    return {"status": "ok", "breaker": breaker}


def _is_migrated(database: dict[str, Any]) -> bool:
    """Whether all migrations are applied. A True is cached for the life of the process."""
    global _migrated
    if not _migrated and database["status"] == "ok":
        try:
            executor = MigrationExecutor(connection)
            _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except DatabaseError:
            return False
    return _migrated


def _wrong_currency() -> str:
    """Why the service must not count, or an empty text. The schema's currency never changes, so it is read once."""
    global _currency_is_right
    if _currency_is_right:
        return ""
    from platform_core.db.currency import explanation, other_currency

    try:
        other = other_currency()
    except DatabaseError:
        return ""
    _currency_is_right = other is None
    return "" if other is None else explanation(other)
