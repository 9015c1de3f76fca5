"""The requests that an order went through, and how their lines are found in the logs of all services."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from order_svc.explaining.life import Life
from platform_core.http import context

_SEARCHABLE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Trace:
    """``of``: what the request did to the order."""

    request_id: str
    trace_id: str
    of: list[str]


@dataclass(frozen=True, slots=True)
class LogSearch:
    """Commands that read the JSON lines of any number of services from their standard input; empty without ids."""

    grep: str
    jq: str


def traces(life: Life) -> list[Trace]:
    """Each request once, in the order in which they came. Messages go by the ids of the request that caused them."""
    rows = [("placed", life.order.request_id, life.order.traceparent)]
    rows += [(event.type.removeprefix("order."), event.request_id, event.traceparent) for event in life.events]
    found: dict[str, Trace] = {}
    for what, request_id, traceparent in rows:
        if _SEARCHABLE.fullmatch(request_id):
            trace_id = context.Context(traceparent=traceparent).trace_id
            found.setdefault(request_id, Trace(request_id, trace_id, [])).of.append(what)
    return list(found.values())


def search(found: Sequence[Trace]) -> LogSearch:
    """Ids hold no character that a shell or jq would read otherwise."""
    if not found:
        return LogSearch("", "")
    patterns = " ".join(f"""-e '"requestId":"{trace.request_id}"'""" for trace in found)
    conditions = " or ".join(f'.requestId == "{trace.request_id}"' for trace in found)
    return LogSearch(f"grep -F {patterns}", f"jq -cR 'fromjson? | select({conditions})'")
