"""Receives an uploaded file and stores it in pieces as it arrives, for a job."""

from typing import Any

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError

from platform_core.http.request_body import MAX_UPLOAD_BYTES
from platform_core.jobs import queue
from platform_core.jobs.files import CHUNK_BYTES, ChunkWriter
from platform_core.jobs.kinds import Kind
from platform_core.jobs.models import Job, JobChunk

FIELD = "file"
MAX_NAME = 200


class BadUpload(Exception):
    """The upload cannot be used. The message says why; nothing of it is left."""


class _Stored:
    """What ``request.FILES`` holds of a file that is stored already."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size

    def close(self) -> None:
        """Called by Django at the end of the request."""


class _ChunkHandler(FileUploadHandler):
    """Stores the file of the field `FIELD` in pieces that belong to a draft."""

    chunk_size = CHUNK_BYTES

    def __init__(self, kind: Kind, user: Any) -> None:
        super().__init__()
        self._kind, self._user = kind, user
        self.job: Job | None = None
        self.problem = ""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begins a file. Only one is taken."""
        super().new_file(*args, **kwargs)
        if self.field_name != FIELD or self.job is not None:
            self._refuse("Expected one file.")
        self.job = queue.create(self._kind, self._user, state=Job.State.DRAFT)
        self._writer = ChunkWriter(self.job, JobChunk.Part.UPLOAD)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Stores a piece. It was checked before that the body is not too large, but that is cheap to check again."""
        if start + len(raw_data) > MAX_UPLOAD_BYTES:
            self._refuse(f"The file is larger than {MAX_UPLOAD_BYTES // 1024**2} MiB.")
        self._writer.write(raw_data)

    def file_complete(self, file_size: int) -> Any:
        """Stores the last piece."""
        self._writer.flush()
        return _Stored(str(self.file_name), file_size)

    def _refuse(self, problem: str) -> None:
        self.problem = problem
        raise StopUpload(connection_reset=True)


def receive(request: HttpRequest, kind: Kind) -> Job:
    """Read the form of a request, and store its file as the upload of a new draft.

    ``job.parameters["name"]`` is the file's name. The caller has checked the permission, checks the CSRF token
    afterwards (it is part of the form), and discards the draft if it is not to be used. Raises BadUpload, and
    PlatformError if no job can be made; then nothing is left.
    """
    if request.content_type != "multipart/form-data":
        raise BadUpload("Send the file in a form (multipart/form-data).")
    handler = _ChunkHandler(kind, request.user)
    request.upload_handlers = [handler]
    try:
        found = _parsed(request, handler)
        if handler.job is None:
            raise BadUpload("Choose a file.")
        if found is None:
            raise BadUpload("The form ends in the middle of the file.")
        if not found.size:
            raise BadUpload("The file is empty.")
    except BaseException:
        if handler.job is not None:
            queue.discard(handler.job)
        raise
    handler.job.parameters = {"name": found.name[:MAX_NAME]}
    handler.job.save(update_fields=["parameters"])
    return handler.job


def _parsed(request: HttpRequest, handler: _ChunkHandler) -> Any:
    try:
        found = request.FILES.get(FIELD)
    except (MultiPartParserError, BadRequest, SuspiciousOperation) as error:
        raise BadUpload(f"The form cannot be read: {error}") from None
    except UnreadablePostError as error:
        raise BadUpload(str(error) or "The upload was broken off.") from None
    if handler.problem:
        raise BadUpload(handler.problem)
    return found
