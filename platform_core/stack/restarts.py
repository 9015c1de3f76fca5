"""How `manage.py restart` reaches the `up` of a data folder: by a file for each request, and one for its answer.

`up` looks for requests several times a second. A request disappears as soon as `up` has taken it.
"""

import json
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from platform_core.stack import running

TAKEN_SECONDS = 15.0
"""How long a request may wait. `up` takes none while it starts or stops."""
ANSWER_SECONDS = 240.0
_FOLDER, _REQUEST, _ANSWER = "restarts", ".request", ".answer"
_PAUSE = 0.1


class RestartError(Exception):
    """A service was not restarted. The message is one line that says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to restart a service, as `up` has taken it. ``package`` is not checked."""

    file: Path
    package: str

    def answer(self, text: str, *, is_done: bool) -> None:
        """Tell the command the outcome. If that fails, the command ends by its own time limit."""
        with suppress(OSError):
            _write(self.file.with_suffix(_ANSWER), json.dumps({"isDone": is_done, "text": text}))


def open_for_requests(folder: Path) -> None:
    """Delete what earlier commands have left. New requests wait here until they are taken. Raises OSError."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)
    (folder / _FOLDER).mkdir(exist_ok=True)


def take(folder: Path) -> Iterator[Request]:
    """Take the requests that wait. One that cannot be read or deleted is left; its command notices that."""
    for file in sorted((folder / _FOLDER).glob(f"*{_REQUEST}")):
        with suppress(OSError):
            request = Request(file, file.read_text())
            file.unlink()
            yield request


def ask_for_restart(folder: Path, package: str) -> str:
    """Ask the `up` that runs from the folder to restart a service, and wait for its answer, which is returned.

    Raises RestartError if none runs, if it does not answer in time, or if it did not restart the service.
    """
    if not running.is_up(folder):
        raise RestartError(f"No `manage.py up` runs from {folder.resolve()}, so there is nothing to restart.")
    file = folder / _FOLDER / f"{uuid.uuid4().hex}{_REQUEST}"
    try:
        file.parent.mkdir(exist_ok=True)  # `up` makes it when it has started
        _write(file, package)
    except OSError as error:
        raise RestartError(f"{file.parent} cannot be written: {error.strerror}.") from None
    try:
        return _await_answer(folder, file)
    finally:
        file.unlink(missing_ok=True)
        file.with_suffix(_ANSWER).unlink(missing_ok=True)


def _await_answer(folder: Path, request: Path) -> str:
    began = time.monotonic()
    answer = request.with_suffix(_ANSWER)
    who = f"`manage.py up` (process {running.pid(folder)})"
    while not answer.exists():
        waited = time.monotonic() - began
        if request.exists() and waited > TAKEN_SECONDS:
            raise RestartError(
                f"{who} has not taken the request within {TAKEN_SECONDS:g} s. Has it started completely?"
            )
        if waited > ANSWER_SECONDS:
            raise RestartError(f"{who} has not answered within {ANSWER_SECONDS:g} s. Its output says how far it came.")
        if not running.is_up(folder) and not answer.exists():
            raise RestartError(f"{who} ended before it had answered.")
        time.sleep(_PAUSE)
    said = json.loads(answer.read_text())
    if not said["isDone"]:
        raise RestartError(said["text"])
    return str(said["text"])


def _write(file: Path, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)
