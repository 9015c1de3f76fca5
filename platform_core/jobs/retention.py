"""Retention: deletes drafts that nobody confirmed, files of finished jobs, and old jobs."""

from django.db import connection

from platform_core.jobs.models import Job

BATCH = 1000
DRAFT_HOURS = 24
"""How long a draft waits for its confirmation."""
FILE_HOURS = 24
"""How long the files of a finished job can be downloaded, and an uploaded file waits for its import."""
JOB_DAYS = 30
"""How long a finished job is kept."""

# Pieces of files are large, so few are deleted at once. SKIP LOCKED, so that two workers do not wait for each other.
_FILES = """
    DELETE FROM jobs_jobchunk WHERE id IN (
        SELECT c.id FROM jobs_jobchunk c JOIN jobs_job j ON j.id = c.job_id
        WHERE j.finished_at < clock_timestamp() - make_interval(hours => %(hours)s)
        LIMIT %(batch)s FOR UPDATE OF c SKIP LOCKED
    )
"""
_OLD = """
    (j.finished_at < clock_timestamp() - make_interval(days => %(days)s)
     OR (j.state = 'draft' AND j.created_at < clock_timestamp() - make_interval(hours => %(hours)s)))
"""
_ITEMS = f"""
    DELETE FROM jobs_jobitem WHERE id IN (
        SELECT i.id FROM jobs_jobitem i JOIN jobs_job j ON j.id = i.job_id
        WHERE {_OLD} LIMIT %(batch)s FOR UPDATE OF i SKIP LOCKED
    )
"""
_OLD_JOBS = f"SELECT id FROM jobs_job j WHERE {_OLD} ORDER BY id LIMIT 10"


def trim_jobs() -> bool:
    """Delete one batch of what has expired. True if there may be more."""
    values = {"days": JOB_DAYS, "hours": DRAFT_HOURS, "batch": BATCH}
    with connection.cursor() as cursor:
        cursor.execute(_FILES, {"hours": FILE_HOURS, "batch": BATCH})
        files = cursor.rowcount
        cursor.execute(_ITEMS, values)
        items = cursor.rowcount
        if items == BATCH:
            return True  # a job goes with the last of its rows
        cursor.execute(_OLD_JOBS, values)
        ids = [pk for (pk,) in cursor.fetchall()]
    Job.objects.filter(pk__in=ids).delete()
    return files == BATCH or len(ids) == 10
