"""The kinds of jobs that a service has. Its app registers them when it is ready."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from platform_core.jobs.models import Job
    from platform_core.jobs.running import Run


@dataclass(frozen=True, slots=True)
class Kind:
    """What jobs of one kind do.

    ``run`` does the work and returns when it is finished. It is called again after a crash or an interruption, so it
    continues from what it has committed (`Run.commit`). ``permission`` is Django's permission that starting, seeing and
    stopping such jobs requires, such as ``order_svc.change_order``. ``title`` is short: "Mark as delivered". ``row`` is
    what one row is called, and ``row_page`` the name of the URL that shows it.
    """

    name: str
    title: str
    permission: str
    run: Callable[[Run], None]
    question: Callable[[Job], str] = lambda job: f"{job.total:,} rows are selected."
    row: str = "row"
    row_page: str = ""
    template: str = ""
    """A template with what the page of such a job shows below its progress."""
    keeps_upload: bool = False
    """Whether another job will need the uploaded file after this one."""
    only_reads: bool = False
    """Whether it changes no row, as an export. Its page counts only what is done."""


_kinds: dict[str, Kind] = {}


def register(*kinds: Kind) -> None:
    """Make the kinds known. Raises ValueError if two have the same name."""
    for kind in kinds:
        if _kinds.setdefault(kind.name, kind) is not kind:
            raise ValueError(f"Two kinds of jobs are named {kind.name}.")


def find(name: str) -> Kind | None:
    """The kind with this name; None if this version does not have it."""
    return _kinds.get(name)


def names() -> list[str]:
    """The names of all kinds."""
    return list(_kinds)


def allowed(user: Any) -> list[str]:
    """The names of the kinds that the user may start, see and stop."""
    return [kind.name for kind in _kinds.values() if user.has_perm(kind.permission)]
