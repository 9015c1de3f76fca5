"""Files of jobs, stored in the database in pieces, so that neither a request nor a worker holds a whole one."""

import io
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from django.db import connection
from django.db.models.functions import Length

from platform_core.jobs.models import Job, JobChunk

CHUNK_BYTES = 256 * 1024
"""The size of a piece; the last one of a file may be shorter."""


# Not by the ORM, whose queries are cycles: many pieces would stay in memory until the garbage collector runs.
_STORE = "INSERT INTO jobs_jobchunk (job_id, part, number, data) VALUES (%s, %s, %s, %s)"


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


class ChunkReader(io.RawIOBase):
    """Reads a file of a job. It can be sought in, and holds one piece at a time."""

    def __init__(self, job: Job, part: str) -> None:
        super().__init__()
        self._job, self._part = job, part
        rows = JobChunk.objects.filter(job=job, part=part).order_by("number")
        self._ends = list(accumulate(rows.values_list(Length("data"), flat=True)))
        self._position = 0
        self._held: tuple[int, bytes] = (-1, b"")

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._ends[-1] if self._ends else 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        if self._position >= self.size:
            return 0
        number = bisect_right(self._ends, self._position)
        if self._held[0] != number:
            self._held = (number, _piece(self._job, self._part, number) or b"")
        start = self._ends[number - 1] if number else 0
        found = self._held[1][self._position - start :][: len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)


class ChunkWriter:
    """Appends to a file of a job. `flush` stores what is left over; `write` stores whole pieces."""

    def __init__(self, job: Job, part: str) -> None:
        self._job, self._part = job, part
        self._number = JobChunk.objects.filter(job=job, part=part).count()
        self._left = bytearray()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self.size += len(data)
        self._left += data
        while len(self._left) >= CHUNK_BYTES:
            self._store(bytes(self._left[:CHUNK_BYTES]))
            del self._left[:CHUNK_BYTES]

    def flush(self) -> None:
        """Store what is left over, as a shorter piece."""
        if self._left:
            self._store(bytes(self._left))
            self._left.clear()

    def _store(self, data: bytes) -> None:
        with connection.cursor() as cursor:
            cursor.execute(_STORE, [self._job.pk, self._part, self._number, data])
        self._number += 1
