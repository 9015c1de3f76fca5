"""The requests that changed an order, and commands that find their lines in the logs of all services."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from order_svc.explaining.facts import Facts
from platform_core.http import context

_SEARCHABLE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Trace:
    """``of`` lists what the request did to the order, such as ``placed``."""

    request_id: str
    trace_id: str
    of: list[str]


@dataclass(frozen=True, slots=True)
class LogSearch:
    """Commands that filter JSON log lines of any number of services on standard input. Empty if there are no ids."""

    grep: str
    jq: str


def traces(facts: Facts) -> list[Trace]:
    """Each request once, in the order of time. A message has the ids of the request that caused it."""
    rows = [("placed", facts.order.request_id, facts.order.traceparent)]
    rows += [(event.type.removeprefix("order."), event.request_id, event.traceparent) for event in facts.events]
    found: dict[str, Trace] = {}
    for what, request_id, traceparent in rows:
        if _SEARCHABLE.fullmatch(request_id):
            trace_id = context.Context(traceparent=traceparent).trace_id
            found.setdefault(request_id, Trace(request_id, trace_id, [])).of.append(what)
    return list(found.values())


def search(found: Sequence[Trace]) -> LogSearch:
    """Builds the search commands. The ids need no quoting: they contain no special character of the shell or of jq."""
    if not found:
        return LogSearch("", "")
    patterns = " ".join(f"""-e '"requestId":"{trace.request_id}"'""" for trace in found)
    conditions = " or ".join(f'.requestId == "{trace.request_id}"' for trace in found)
    return LogSearch(f"grep -F {patterns}", f"jq -cR 'fromjson? | select({conditions})'")
