"""The duties (background loops) of a service. Each has its own thread and connection; one event stops all."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import connection

from platform_core.db.connections import drop_dead_connections
from platform_core.db.isolation import is_outage
from platform_core.db.silence import Answers, watch

log = logging.getLogger("platform.worker")
_SILENT_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class Duty:
    """A loop. ``run(stopping)`` does one round and returns True to skip the ``pause`` (seconds) before the next.

    ``finish()`` is called after the last round. It waits for work that the rounds have started in other threads.
    """

    name: str
    run: Callable[[threading.Event], bool]
    pause: float
    finish: Callable[[], None] = lambda: None


def work(duties: Sequence[Duty], stopping: threading.Event) -> None:
    """Run the duties until ``stopping`` is set. Each finishes its current round.

    While Postgres is silent, no round begins.
    """
    watch.start()
    threads = [threading.Thread(target=_repeat, args=(duty, stopping), name=duty.name) for duty in duties]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _repeat(duty: Duty, stopping: threading.Event) -> None:
    while not stopping.is_set():
        more = False
        if watch.answers is not Answers.ALL:
            stopping.wait(_SILENT_PAUSE)
            continue
        try:
            drop_dead_connections()
            more = duty.run(stopping)
        except Exception as error:
            report(duty.name, error)
            stopping.wait(1)
        if not more:
            stopping.wait(duty.pause)
    duty.finish()
    connection.close()


def report(duty: str, error: Exception) -> None:
    """Log an error of a round. If the database is unavailable, closes the connection."""
    if is_outage(error):
        log.warning("worker.database_unavailable", extra={"data": {"duty": duty, "error": str(error).strip()}})
        connection.close()
    else:
        log.error("worker.failed", extra={"data": {"duty": duty}}, exc_info=error)
