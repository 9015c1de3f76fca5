"""The three health routes in the OpenAPI document. They are no DRF views (`platform_core.observability.health`)."""

from typing import Any

from platform_core.clients.breaker import State

Schema = dict[str, Any]


def _object(optional: Schema | None = None, **required: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


_TEXT: Schema = {"type": "string"}
_STATUS: Schema = {"type": "string", "enum": ["ok", "down"]}
_CHECK = _object(status=_STATUS)
_DATABASE = _object({"latencyMs": {"type": "number"}}, status=_STATUS)
_STATUS_OF_PART: Schema = {
    "type": "string",
    "enum": ["ok", "degraded", "down"],
    "description": "`degraded`: a peer refuses this service as a caller; `detail` names it.",
}
_PEER = _object(
    {"detail": _TEXT}, status=_STATUS_OF_PART, breaker={"type": "string", "enum": [state.value for state in State]}
)
_OUTBOX = _object(
    {
        "pending": {"type": "integer", "description": "Waiting messages, counted up to 1000."},
        "oldestSeconds": {"type": ["number", "null"], "description": "Null if no message waits."},
        "dead": {"type": "integer", "description": "Dead letters, counted up to 1000."},
        "detail": _TEXT,
    },
    status=_STATUS_OF_PART,
)
_DUTIES = _object(
    {
        "parked": {"type": "integer", "description": "Items that background duties have given up, counted up to 1000."},
        "retried": {"type": "integer", "description": "Failed items that are tried again."},
    },
    status=_STATUS,
)
_HISTORY = _object(
    {"detail": {"type": "string", "description": "What was lost, and what to do; or why it cannot be noticed."}},
    status=_STATUS,
)


_CHECKS: Schema = {
    **_object({"outbox": _OUTBOX, "duties": _DUTIES, "history": _HISTORY}, database=_DATABASE),
    "description": (
        "`outbox` if the service has one; `duties` if it has background duties; `history`, whether the database has "
        "lost transactions, if it has a feed; and the circuit breaker of each peer that the process has called."
    ),
    "additionalProperties": _PEER,
}
_READINESS: Schema = {
    **_object({"leaving": _CHECK}, database=_DATABASE, migrations=_CHECK),
    "description": "`leaving` appears when the process is about to stop. It still answers requests for a short time.",
}
HEALTH_SCHEMAS: Schema = {
    "Health": _object(
        {
            "version": _TEXT,
            "mode": {"type": "string", "enum": ["development", "production"]},
            "uptimeSeconds": {"type": "number"},
            "checks": _CHECKS,
        },
        status=_STATUS,
        service=_TEXT,
    ),
    "Liveness": _object(status=_STATUS),
    "Readiness": _object(status=_STATUS, checks=_READINESS),
}


def _operation(name: str, summary: str, *statuses: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    described = {"200": "Healthy.", "503": "Not healthy; the body says which check failed."}
    return {
        "operationId": f"get{name}",
        "summary": summary,
        "description": f"{summary}. Calls no other service.",
        "parameters": [{"$ref": f"#/components/parameters/{header}"} for header in ("RequestId", "RequestTimeout")],
        "tags": ["health"],
        "responses": {
            **{status: {"description": described[status], "content": content} for status in statuses},
            "400": {"$ref": "#/components/responses/BadRequest"},
            "414": {"$ref": "#/components/responses/UriTooLong"},
            "431": {"$ref": "#/components/responses/HeadersTooLarge"},
        },
    }


HEALTH_PATHS: Schema = {
    "/health": {"get": _operation("Health", "State of the service", "200", "503")},
    "/health/live": {"get": _operation("Liveness", "Whether the process runs", "200")},
    "/health/ready": {"get": _operation("Readiness", "Whether the service can take requests", "200", "503")},
}
