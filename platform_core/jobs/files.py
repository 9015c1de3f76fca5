"""Files of jobs, stored in the database in pieces, so that neither a request nor a worker holds a whole one."""

from collections.abc import Iterator

from platform_core.jobs.models import Job, JobChunk

CHUNK_BYTES = 256 * 1024
"""The size of a piece; the last one of a file may be shorter."""


def pieces(job: Job, part: str) -> Iterator[bytes]:
    """The bytes of a file, piece by piece. Each piece is read when it is needed."""
    number = 0
    while (data := _piece(job, part, number)) is not None:
        yield data
        number += 1


def has_file(job: Job, part: str) -> bool:
    """Whether the file is there; an empty one is not stored."""
    return JobChunk.objects.filter(job=job, part=part).exists()


def _piece(job: Job, part: str, number: int) -> bytes | None:
    found = JobChunk.objects.filter(job=job, part=part, number=number).values_list("data", flat=True).first()
    return None if found is None else bytes(found)
