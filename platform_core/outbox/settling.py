"""Stores the outcomes of deliveries that end at the same time together, with one statement and one commit."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from platform_core.db.isolation import is_outage
from platform_core.outbox.models import OutboxMessage
from platform_core.outbox.queue import Handler, settle_delivered


@dataclass(slots=True)
class _Outcome:
    message: OutboxMessage
    handler: Handler
    is_stored: bool = False
    held: bool = False
    error: Exception | None = None


class Together:
    """Group commit for the threads of a lane.

    The first thread stores its outcome at once. Outcomes that come meanwhile are stored by the next of these threads,
    all with one statement. A thread begins no other delivery before its outcome is stored, so a crash repeats no more
    deliveries than without groups: one for each thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[_Outcome] = []
        self._is_busy = False

    def settle_delivered(self, message: OutboxMessage, handler: Handler) -> bool:
        """Like `queue.settle_delivered`, for a handler with ``store`` in a group. Raises the error of its own message.

        The wait is bounded, because all waits on the database are.
        """
        if handler.store is None:
            return settle_delivered(message, handler)
        outcome = _Outcome(message, handler)
        with self._changed:
            self._waiting.append(outcome)
            self._changed.wait_for(lambda: outcome.is_stored or not self._is_busy)
            group: list[_Outcome] = []
            if not outcome.is_stored:
                self._is_busy, group, self._waiting = True, self._waiting, []
        if group:
            try:
                _store(group)
            finally:
                with self._changed:
                    self._is_busy = False
                    for each in group:
                        each.is_stored = True
                    self._changed.notify_all()
        if outcome.error is not None:
            raise outcome.error
        return outcome.held


def _store(group: Sequence[_Outcome]) -> None:
    """Stores each by itself if they cannot be stored together, so that one that fails does not fail the others."""
    by_handler: dict[int, list[_Outcome]] = {}
    for outcome in group:
        by_handler.setdefault(id(outcome.handler), []).append(outcome)
    for outcomes in by_handler.values():
        error = _stored(outcomes)
        if error is None:
            continue
        for outcome in outcomes:
            outcome.error = error if len(outcomes) == 1 or is_outage(error) else _stored([outcome])


def _stored(outcomes: Sequence[_Outcome]) -> Exception | None:
    store = outcomes[0].handler.store
    assert store is not None
    try:
        held = store([outcome.message for outcome in outcomes])
    except Exception as error:
        return error
    for outcome in outcomes:
        outcome.held = outcome.message.pk in held
    return None
