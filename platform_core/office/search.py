"""Asks all services for what somebody has typed into the bar."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from django.conf import settings

from platform_core.clients.finding import Match, find_at
from platform_core.clients.parallel import begin_all
from platform_core.office.finding import Sought, find_here
from platform_core.office.viewer import Viewer
from platform_core.topology import SERVICES, Service

SECONDS = 2.0
"""The time in which the services must answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``found`` are the matches with the service that has each. ``unanswered`` did not answer; they may have more."""

    found: Sequence[tuple[Service, Match]]
    asked: Sequence[Service]
    unanswered: Sequence[Service]

    @property
    def only(self) -> tuple[Service, Match] | None:
        """The one thing that was found, if all have answered. What happened to it does not count beside it."""
        things = [each for each in self.found if not each[1].is_record] or self.found
        return things[0] if len(things) == 1 and not self.unanswered else None


def search(text: str, viewer: Viewer) -> Outcome:
    """What the services have by exactly this text, and the viewer may see. Raises nothing for a silent service."""
    asked = _asked(text, viewer)
    roles = viewer.roles
    peers = {s.name: partial(find_at, s.name, text, roles, SECONDS) for s in asked if s is not settings.SERVICE}
    answers = begin_all(peers, SECONDS)
    here = find_here(text, roles) if settings.SERVICE in asked else []
    results: dict[str, list[Match] | Exception] = {settings.SERVICE.name: here, **answers()}
    found, unanswered = [], []
    for service in asked:
        answer = results[service.name]
        if isinstance(answer, Exception):
            unanswered.append(service)
        else:
            found += [(service, match) for match in answer]
    found.sort(key=lambda each: each[1].is_record)
    return Outcome(found, asked, unanswered)


def _asked(text: str, viewer: Viewer) -> list[Service]:
    """The services that may have it: all. A local account sees nothing of the others."""
    if not Sought.of(text).text:
        return []
    return [settings.SERVICE] if viewer.is_local else list(SERVICES)
