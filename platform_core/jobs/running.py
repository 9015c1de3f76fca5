"""The duty that runs jobs: one at a time in each worker, for a slice of time, so that all jobs advance."""

import logging
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.db import transaction

from platform_core.db.isolation import is_outage
from platform_core.http import context
from platform_core.jobs import kinds, queue
from platform_core.jobs.models import Job, JobChunk
from platform_core.jobs.queue import MAX_ATTEMPTS, LeaseLost, StopRequested

SLICE_SECONDS: Final = 5.0
"""After this time the job that was served longest ago has its turn."""
MAX_ERROR = 2000
"""The most characters that are kept of an error."""
log = logging.getLogger("platform.jobs")


class GivenUp(Exception):
    """Raised by a kind: the job fails with this reason, and is not tried again."""


class Yielded(Exception):
    """The job is given back, to go on after ``delay``."""

    def __init__(self, delay: timedelta = timedelta()) -> None:
        super().__init__()
        self.delay = delay


class Run:
    """One run of a job, by one worker."""

    def __init__(self, job: Job, stopping: threading.Event) -> None:
        self.job = job
        self._stopping = stopping
        self._until = time.monotonic() + SLICE_SECONDS

    def commit(self, done: int = 0, changed: int = 0, refused: int = 0, **values: Any) -> None:
        """Count progress in the surrounding transaction, which also makes the changes.

        ``values`` are further columns of the job. Raises LeaseLost or StopRequested: let them roll back.
        """
        queue.commit(self.job, done, changed, refused)
        if values:
            Job.objects.filter(pk=self.job.pk).update(**values)

    def note(self, **values: Any) -> None:
        """Store columns of the job in a transaction of its own, and renew the lease."""
        with transaction.atomic():
            self.commit(**values)

    def restart(self) -> None:
        """Forget the progress and the results of earlier runs, for work that cannot continue where it was."""
        with transaction.atomic():
            Job.objects.filter(pk=self.job.pk, lease=self.job.lease).update(done=0, changed=0, refused=0, result={})
            JobChunk.objects.filter(job=self.job).exclude(part=JobChunk.Part.UPLOAD).delete()
            self.commit()
        self.job.refresh_from_db(fields=["done", "changed", "refused", "result"])

    def check_end(self) -> None:
        """Raises Yielded if the worker is about to end."""
        if self._stopping.is_set():
            raise Yielded

    def check_turn(self) -> None:
        """Raises Yielded if the worker is about to end, or if it is another job's turn."""
        self.check_end()
        if time.monotonic() > self._until:
            raise Yielded


def run_jobs(stopping: threading.Event) -> bool:
    """One round of the duty: run a due job for a slice of time. False if none is due."""
    job = queue.claim()
    if job is None:
        return False
    with context.entered(context.Context(job.request_id, job.traceparent, caller=job.by, user=_user_of(job))):
        _run(job, stopping)
    return True


def _user_of(job: Job) -> str:
    kind, _, subject = job.by.partition(":")
    return subject if kind == "user" else ""


def _run(job: Job, stopping: threading.Event) -> None:
    try:
        _work(job, stopping)
    except Yielded as yielded:
        queue.give_back(job, yielded.delay)
    except StopRequested:
        _finish(job, Job.State.STOPPED)
    except LeaseLost:
        log.warning("job.lease_lost", extra={"data": _data(job)})
    except GivenUp as error:
        _finish(job, Job.State.FAILED, str(error)[:MAX_ERROR])
    except Exception as error:
        if is_outage(error):
            raise  # the lease ends by itself
        _failed(job, error)
    else:
        _finish(job, Job.State.DONE)


def _work(job: Job, stopping: threading.Event) -> None:
    kind = kinds.find(job.kind)
    assert kind is not None  # only known kinds are claimed
    if job.state == Job.State.STOPPING:
        raise StopRequested
    if job.attempts >= MAX_ATTEMPTS:
        raise GivenUp(job.error or "The worker ended while it ran, several times.")
    kind.run(Run(job, stopping))


def _failed(job: Job, error: Exception) -> None:
    """Give the job back after an error that its kind did not expect; its last attempt ends it at its next turn."""
    text = f"{type(error).__name__}: {error}".strip()[:MAX_ERROR]
    log.error("job.failed", extra={"data": _data(job, error=text)}, exc_info=error)
    queue.give_back(job, backoff(job.attempts), text)


def backoff(attempts: int) -> timedelta:
    """The delay before the next attempt: 1, 2, 4 … seconds."""
    return timedelta(seconds=2 ** min(attempts, 8))


def _finish(job: Job, state: str, error: str = "") -> None:
    kind = kinds.find(job.kind)
    keeps_upload = kind is not None and kind.keeps_upload and state == Job.State.DONE
    if queue.finish(job, state, error, keeps_upload=keeps_upload):
        log.info("job.finished", extra={"data": _data(job, state=state)})


def _data(job: Job, **values: Any) -> Mapping[str, Any]:
    return {"jobId": str(job.pk), "kind": job.kind, **values}
