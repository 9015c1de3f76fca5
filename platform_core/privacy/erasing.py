"""Erases what this service holds of a person.

First the id is written to `ErasedPerson`, under a lock that waits for transactions which are writing data of the person
(`platform_core.db.is_erased`). Later transactions see the id and write none. So the rows that are erased after that are
all there will ever be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from platform_core.auth.staff import erase_shadow
from platform_core.db.erased import remember_erased


@dataclass(frozen=True, slots=True)
class PersonalData:
    """What a service holds of persons.

    ``erase(user_id)`` erases one batch in a transaction of its own, and returns whether there may be more.
    ``rows(user_id)`` are the querysets of the person's rows, for the export.
    """

    erase: Callable[[int], bool]
    rows: Callable[[int], Sequence[QuerySet[Any]]]


_held: list[PersonalData] = []


def holds_personal_data(data: PersonalData) -> None:
    """Register what the service holds. Called when its app is ready."""
    _held.append(data)


def held() -> Sequence[PersonalData]:
    """What the service has registered."""
    return _held


def erase_person(user_id: int) -> None:
    """Erase all that this service holds of a person, now and in future. May be repeated.

    Raises DeadlineExceeded when the time is up. A repetition goes on where it stopped, because each batch is committed.
    """
    remember_erased(user_id)
    erase_shadow(user_id)
    for data in _held:
        while data.erase(user_id):
            pass
