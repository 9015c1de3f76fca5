"""The fenced blocks of README.md, CONTRIBUTING.md and docs/, and how each is tested.

The line above a block is an HTML comment that says it:

    <!-- run: platform -->               Each command is run on a platform that the suite starts for the docs.
    <!-- run: new service -->            Each command is run in a copy of the project, by `test_new_service.py`.
    <!-- run: new service, started -->   The same, once that copy's platform is up.
    <!-- part of: reviews_svc/x.py -->   The text stands in this file of that copy.
    <!-- names: files -->                Every file and folder that it names exists.
    <!-- not run: a reason -->           Only the make targets and manage.py commands that it names are looked up.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from platform_core.conf.environment import ROOT
from platform_core.stack.processes import die_with_parent

FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN, PART, NAMES, NOT_RUN = "run", "part of", "names", "not run"
PLATFORM, NEW_SERVICE, STARTED = "platform", "new service", "new service, started"
_BLOCK = re.compile(r"^(?P<above>[^\n]*)\n(?P<indent> *)```[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_MARK = re.compile(r" *<!-- (run|part of|names|not run): (.*) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """``kind`` and ``detail`` are the two halves of the mark, empty without one; ``text`` is without indentation."""

    file: Path
    line: int
    kind: str
    detail: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """What a reader enters, without comments; a backslash at the end of a line goes on in the next."""
        lines = self.text.replace("\\\n", " ").splitlines()
        stripped = (re.sub(r"(^|\s+)# .*$", "", line).strip() for line in lines)
        return [line for line in stripped if line]


def blocks(files: list[Path] = FILES) -> list[Block]:
    return [block for file in files for block in blocks_in(file, file.read_text())]


def blocks_in(file: Path, text: str) -> Iterator[Block]:
    for found in _BLOCK.finditer("\n" + text):
        kind, detail = mark.groups() if (mark := _MARK.fullmatch(found["above"])) else ("", "")
        body = re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        yield Block(file, text[: found.start("text")].count("\n"), kind, detail, body)


def chosen(kind: str, detail: str = "") -> list[Block]:
    return [block for block in blocks() if block.kind == kind and detail in ("", block.detail)]


class Desk:
    """A reader's environment: the project's folder and a shell."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        (folder / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
        self.environment = {**environment, "CURL_HOME": str(folder)}
        if not (folder / ".venv").exists():
            (folder / ".venv").symlink_to(sys.prefix)

    def enter(self, command: str, timeout: float = 240.0) -> str:
        """Runs a command and returns its output. Fails if the command fails."""
        done = subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            preexec_fn=die_with_parent,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


def linked_desk(folder: Path, environment: Mapping[str, str]) -> Desk:
    """The project itself, in a folder where commands may leave files."""
    for entry in ROOT.iterdir():
        if entry.name not in (".venv", ".git", ".curlrc"):
            (folder / entry.name).symlink_to(entry)
    return Desk(folder, environment)


def make_targets(command: str) -> Iterator[str]:
    words = shlex.split(command)
    if words and words[0] == "make":
        yield from (word for word in words[1:] if "=" not in word and not word.startswith("-"))


def manage_arguments(command: str) -> list[str]:
    """The arguments of ``manage.py``, up to a pipe. Empty if it is not called."""
    words = shlex.split(command)
    if "manage.py" not in words:
        return []
    following = words[words.index("manage.py") + 1 :]
    return following[: following.index("|")] if "|" in following else following


def unknown_names(text: str) -> list[str]:
    """The Python files and the folders that a text names and that exist nowhere in the project."""
    names = re.findall(r"(?<![\w<>/.])[\w/]+(?:\.py|/)(?![\w>])", text)
    known = set(_paths(ROOT))
    return [name for name in names if not any(f"/{path}".endswith(f"/{name}") for path in known)]


def _paths(root: Path) -> Iterator[str]:
    """All files and folders, relative to the root; a folder ends with a slash."""
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        here = Path(place).relative_to(root)
        yield from (f"{(here / name).as_posix()}/" for name in folders)
        yield from ((here / name).as_posix() for name in files)
