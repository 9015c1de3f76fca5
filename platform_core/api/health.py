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
_PEER = _object(status=_STATUS, breaker={"type": "string", "enum": [state.value for state in State]})
_OUTBOX = _object(
    {
        "pending": {"type": "integer", "description": "Waiting messages, counted up to 1000."},
        "oldestSeconds": {"type": ["number", "null"], "description": "Null if no message waits."},
        "dead": {"type": "integer", "description": "Dead letters, counted up to 1000."},
    },
    status=_STATUS,
)


_CHECKS: Schema = {
    **_object({"outbox": _OUTBOX}, database=_DATABASE),
    "description": "`outbox` if the service has one, and the circuit breaker of each peer that the process has called.",
    "additionalProperties": _PEER,
}
_READINESS: Schema = {
    **_object({"leaving": _CHECK}, database=_DATABASE, migrations=_CHECK),
    "description": "`leaving` appears when the process is about to stop. It still answers requests for a short time.",
}
HEALTH_SCHEMAS: Schema = {
    "Health": _object(
        status=_STATUS,
        service=_TEXT,
        version=_TEXT,
        mode={"type": "string", "enum": ["development", "production"]},
        uptimeSeconds={"type": "number"},
        checks=_CHECKS,
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
