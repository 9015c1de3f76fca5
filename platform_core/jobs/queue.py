"""Creates, confirms, claims, stops and finishes jobs. All times are those of Postgres' clock."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from platform_core.auth.staff import identity
from platform_core.db.connections import array
from platform_core.http import context
from platform_core.http.errors import Conflict, TooLarge
from platform_core.jobs import kinds
from platform_core.jobs.kinds import Kind
from platform_core.jobs.models import Job, JobChunk, JobItem
from platform_core.observability import metrics

LEASE: Final = timedelta(seconds=30)
MOST_ROWS: Final = 100_000
"""The most rows of one job."""
MOST_WAITING: Final = 100
"""The most unfinished jobs of a service."""
MAX_ATTEMPTS: Final = 5
"""How often a job, or one of its rows, is tried before it is given up."""

_SELECT = """
    INSERT INTO jobs_jobitem (job_id, key, state, attempts, reason)
    SELECT %s, key, 'waiting', 0, '' FROM unnest(%s::bigint[]) WITH ORDINALITY AS k (key, n) ORDER BY n
"""
# The job that was served longest ago comes first, so that no job has to wait for the end of another.
_CLAIM = """
    WITH due AS MATERIALIZED (
        SELECT id, leased_until FROM jobs_job
        WHERE state IN ('waiting', 'running', 'stopping') AND available_at <= clock_timestamp()
          AND (leased_until IS NULL OR leased_until < clock_timestamp()) AND kind = ANY(%(kinds)s)
        ORDER BY available_at, id LIMIT 1
        FOR UPDATE SKIP LOCKED
    )
    UPDATE jobs_job j SET
        lease = %(lease)s, leased_until = clock_timestamp() + %(period)s,
        state = CASE j.state WHEN 'waiting' THEN 'running' ELSE j.state END,
        started_at = coalesce(j.started_at, clock_timestamp()),
        attempts = j.attempts + CASE WHEN due.leased_until IS NULL THEN 0 ELSE 1 END
    FROM due WHERE j.id = due.id
    RETURNING j.*, due.leased_until IS NOT NULL AS lease_expired
"""
_COMMIT = """
    UPDATE jobs_job SET
        done = done + %(done)s, changed = changed + %(changed)s, refused = refused + %(refused)s,
        attempts = 0, error = '', leased_until = clock_timestamp() + %(period)s
    WHERE id = %(id)s AND lease = %(lease)s AND state = 'running'
"""
_GIVE_BACK = """
    UPDATE jobs_job SET
        lease = NULL, leased_until = NULL, available_at = clock_timestamp() + %(delay)s,
        attempts = attempts + %(failed)s, error = CASE WHEN %(failed)s > 0 THEN %(error)s ELSE error END
    WHERE id = %(id)s AND lease = %(lease)s
"""
_FINISH = """
    UPDATE jobs_job SET
        state = %(state)s, error = %(error)s, finished_at = clock_timestamp(), lease = NULL, leased_until = NULL
    WHERE id = %(id)s AND lease = %(lease)s AND state IN ('running', 'stopping')
"""
_STOP = """
    UPDATE jobs_job SET
        state = CASE state WHEN 'waiting' THEN 'stopped' ELSE 'stopping' END,
        finished_at = CASE state WHEN 'waiting' THEN clock_timestamp() END, available_at = clock_timestamp()
    WHERE id = %s AND state IN ('waiting', 'running')
"""


class LeaseLost(Exception):
    """Another worker may have taken the job. What was done since the last commit is rolled back."""


class StopRequested(Exception):
    """Somebody stops the job. What was done since the last commit is rolled back."""


def create(kind: Kind, user: Any, *, state: str = Job.State.WAITING, **values: Any) -> Job:
    """Create a job of ``user``, who is signed in to the admin. Raises Conflict `too_many_jobs`."""
    if Job.objects.filter(state__in=Job.UNFINISHED)[:MOST_WAITING].count() >= MOST_WAITING:
        raise Conflict(f"There are {MOST_WAITING} unfinished jobs. Wait until some have ended.", code="too_many_jobs")
    who = {"by": str(identity(user)), "user": user}
    times = {"created_at": Now(), "available_at": Now()}
    return Job.objects.create(kind=kind.name, state=state, **who, **times, **_origin(), **values)


@transaction.atomic
def draft(kind: Kind, user: Any, rows: QuerySet[Any], **values: Any) -> Job:
    """Create a job over these rows as they are now, which waits for its confirmation. Later rows are not among them.

    Raises TooLarge if there are more than `MOST_ROWS`, Conflict `too_many_jobs`.
    """
    keys = list(rows.order_by("pk").values_list("pk", flat=True)[: MOST_ROWS + 1])
    if len(keys) > MOST_ROWS:
        raise TooLarge(f"More than {MOST_ROWS:,} rows are selected. Select fewer by a filter.")
    job = create(kind, user, state=Job.State.DRAFT, total=len(keys), **values)
    with connection.cursor() as cursor:
        cursor.execute(_SELECT, [job.pk, array(keys)])
    job.question = kind.question(job)
    job.save(update_fields=["question"])
    return job


def confirm(job: Job) -> bool:
    """Let a draft begin. False if it is no draft any more."""
    changes = {"state": Job.State.WAITING, "available_at": Now(), **_origin()}
    return bool(Job.objects.filter(pk=job.pk, state=Job.State.DRAFT).update(**changes))


def discard(job: Job) -> bool:
    """Delete a draft with its rows and files. False if it is no draft any more."""
    with transaction.atomic():
        found = Job.objects.select_for_update().filter(pk=job.pk, state=Job.State.DRAFT).first()
        if found is not None:
            found.delete()
    return found is not None


def stop(job: Job) -> bool:
    """End a job: at once if it has not begun, otherwise after the row that a worker is working on.

    False if it has finished already, or is being stopped.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_STOP, [job.pk])
        if not cursor.rowcount:
            return False
        if Job.objects.filter(pk=job.pk, state=Job.State.STOPPED).exists():
            _erase_upload(job.pk)
    return True


def claim() -> Job | None:
    """Lease a job that is due. The lease is committed; other workers skip the job until it ends."""
    values = {"lease": uuid.uuid4(), "period": LEASE, "kinds": kinds.names()}
    found: Sequence[Job] = list(Job.objects.raw(_CLAIM, values))
    return found[0] if found else None


def commit(job: Job, done: int, changed: int, refused: int) -> None:
    """Count progress and renew the lease, in the transaction of the changes.

    Raises LeaseLost or StopRequested, which roll the transaction back.
    """
    counts = {"done": done, "changed": changed, "refused": refused}
    values: Any = {"id": job.pk, "lease": job.lease, "period": LEASE, **counts}
    with connection.cursor() as cursor:
        cursor.execute(_COMMIT, values)
        if cursor.rowcount:
            return
    if Job.objects.filter(pk=job.pk, lease=job.lease, state=Job.State.STOPPING).exists():
        raise StopRequested
    raise LeaseLost


def give_back(job: Job, delay: timedelta = timedelta(), error: str | None = None) -> None:
    """End the lease; the job goes on after ``delay``. With an ``error``, it counts as a failed run."""
    failure = {"failed": int(error is not None), "error": error or ""}
    values: Any = {"id": job.pk, "lease": job.lease, "delay": delay, **failure}
    with connection.cursor() as cursor:
        cursor.execute(_GIVE_BACK, values)


@transaction.atomic
def finish(job: Job, state: str, error: str = "", *, keeps_upload: bool = False) -> bool:
    """Store the end of a job and erase its upload. False, without any change, if the lease was lost."""
    with connection.cursor() as cursor:
        cursor.execute(_FINISH, {"id": job.pk, "lease": job.lease, "state": state, "error": error})
        if not cursor.rowcount:
            return False
    if not keeps_upload:
        _erase_upload(job.pk)
    transaction.on_commit(lambda: metrics.jobs_finished.labels(job.kind, state).inc())
    return True


@transaction.atomic
def hand_over(job: Job, kind: Kind, user: Any, **values: Any) -> Job | None:
    """Create a job of another kind that gets the uploaded file of ``job``. None if the file is not there any more.

    Raises Conflict `too_many_jobs`.
    """
    Job.objects.select_for_update().get(pk=job.pk)
    uploaded = JobChunk.objects.filter(job=job, part=JobChunk.Part.UPLOAD)
    if not uploaded.exists():
        return None
    next_job = create(kind, user, **values)
    uploaded.update(job=next_job)
    return next_job


def waiting_items(job: Job) -> QuerySet[JobItem]:
    """The rows that are left to do, in their order."""
    return JobItem.objects.filter(job=job, state=JobItem.State.WAITING).order_by("id")


def _erase_upload(pk: int) -> None:
    JobChunk.objects.filter(job=pk, part=JobChunk.Part.UPLOAD).delete()


def _origin() -> dict[str, str]:
    given = context.origin()
    return {name: given[name] for name in ("request_id", "traceparent")}
