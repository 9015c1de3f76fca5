"""A copy of the project, to be changed as an engineer would change it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from platform_core.conf.environment import ROOT
from platform_core.stack.processes import die_with_parent
from tests.suites import plain_environment

KEPT_BY_TOOLS = (".*_cache", ".hypothesis")
NOT_COPIED = (".git", ".venv*", ".platform", ".env", "artefacts", "staticfiles", *KEPT_BY_TOOLS)


class Copy:
    """The project in a folder of the test's own, with what git knows, without its history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        shutil.copytree(ROOT, self.folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
        self.environment = {**plain_environment(), "PYTHONPATH": str(self.folder)}

    def add(self, file: str, after: str, line: str) -> None:
        """``line`` behind the only line that begins with ``after``, as far in."""
        lines = (self.folder / file).read_text().splitlines()
        (at,) = [number for number, text in enumerate(lines) if text.strip().startswith(after)]
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        lines.insert(at + 1, indent + line)
        (self.folder / file).write_text("\n".join(lines) + "\n")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            preexec_fn=die_with_parent,
        )

    def succeeds(self, *arguments: str, **variables: str) -> str:
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def contents(self) -> dict[str, bytes]:
        """All files of the project, by their paths."""
        ignored = shutil.ignore_patterns(*NOT_COPIED, "__pycache__")
        found = {}
        for place, folders, files in os.walk(self.folder):
            folders[:] = set(folders) - ignored(place, folders)
            found |= {str(Path(place, name).relative_to(self.folder)): Path(place, name).read_bytes() for name in files}
        return found
