"""What CONTRIBUTING says of a new field is done for real, in a copy of the project: model, serializer, migration."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from platform_core.conf.environment import EXIT_CODE, ROOT
from platform_core.stack.processes import die_with_parent
from tests.ports import free_ports
from tests.suites import plain_environment

NOWHERE = "postgresql://nobody@localhost/none"
LEFT = shutil.ignore_patterns(".*", "__pycache__", "artefacts", "staticfiles", "docs")


class Copy:
    """A copy of the project, to be changed as an engineer would change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        shutil.copytree(ROOT, self.folder, ignore=LEFT)

    def add(self, file: str, after: str, line: str) -> None:
        """``line`` behind the only line that begins with ``after``, as far in."""
        lines = (self.folder / file).read_text().splitlines()
        (at,) = [number for number, text in enumerate(lines) if text.strip().startswith(after)]
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        lines.insert(at + 1, indent + line)
        (self.folder / file).write_text("\n".join(lines) + "\n")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**plain_environment(), "PYTHONPATH": str(self.folder), **variables},
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


@pytest.fixture
def project(folder: Path, request: pytest.FixtureRequest) -> Copy:
    copy = folder / request.node.name
    copy.mkdir()
    return Copy(copy)


def test_a_products_new_field_is_there_everywhere(project):
    project.add("product_svc/models.py", "sku =", 'brand = models.CharField(max_length=100, blank=True, default="")')
    project.add("product_svc/serializers.py", "sku =", "brand = OptionalStringField(max_length=100)")
    project.succeeds("manage.py", "product_svc", "makemigrations", DATABASE_URL=NOWHERE)
    assert "all of it" in project.succeeds("-m", "tests.e2e.scratch.product_with_a_brand")


def test_a_users_new_field_is_there_everywhere_but_in_events(project):
    project.add("user_svc/models.py", "phone =", 'language = models.CharField(max_length=8, blank=True, default="")')
    project.add("user_svc/serializers.py", "phone =", "language = OptionalStringField(max_length=8)")
    project.succeeds("manage.py", "user_svc", "makemigrations", DATABASE_URL=NOWHERE)
    assert "all of it" in project.succeeds("-m", "tests.e2e.scratch.user_with_a_language")


@pytest.mark.parametrize("how", ["check", "worker", "web"])
def test_nothing_starts_with_a_channel_that_has_no_handler(project, how):
    project.add("platform_core/vocabulary.py", 'LOG = "log"', 'PIGEON = "pigeon"')
    commands = {
        "check": ["manage.py", "notification_svc", "check"],
        "worker": ["manage.py", "notification_svc", "worker"],
        "web": ["-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"],
    }
    settings = {"DJANGO_SETTINGS_MODULE": "notification_svc.settings", "DATABASE_URL": NOWHERE}
    done = project.run(*commands[how], **settings, PORT=str(free_ports(1)[0]))
    assert done.returncode == (EXIT_CODE if how == "web" else 1), done.stdout
    assert "notification_svc.E001" in done.stdout
    assert "'pigeon' has no handler" in done.stdout
