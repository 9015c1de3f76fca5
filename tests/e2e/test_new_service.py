"""`manage.py new_service`, used as `docs/sixth-service.md` describes, in a copy of the project."""

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_core.conf.environment import ROOT
from platform_core.topology import SERVICES, Service
from tests.e2e import blocks
from tests.e2e.blocks import NEW_SERVICE, PART, RUN, STARTED, Desk
from tests.e2e.scratch.copy import Copy
from tests.e2e.stack import Stack, ports_in

REVIEWS = Service("reviews_svc", 8006, has_worker=True)
SIX = (*SERVICES, REVIEWS)
MADE = blocks.chosen(RUN, NEW_SERVICE)
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture(scope="module")
def project(folder: Path) -> Copy:
    """A copy in which the first block of the page has been run."""
    home = folder / "sixth"
    home.mkdir()
    copy = Copy(home)
    if (ROOT / ".mypy_cache").exists():
        shutil.copytree(ROOT / ".mypy_cache", copy.folder / ".mypy_cache")
    desk = Desk(copy.folder, copy.environment)
    for command in MADE[0].commands:
        said = desk.enter(command)
    assert "reviews-service on port 8006" in said
    assert "reviews_svc/access.py" in said, "it says what to do next"
    return copy


@pytest.fixture(scope="module")
def stack(project: Copy, folder: Path) -> Iterator[Stack]:
    place = folder / "six"
    place.mkdir()
    stack = Stack(place, root=project.folder, services=SIX)
    try:
        yield stack.up()
    finally:
        stack.stop()


@pytest.mark.nightly
def test_the_new_service_has_a_migration_and_passes_the_production_checks(project):
    project.succeeds("manage.py", "reviews_svc", "makemigrations", "--check", "--dry-run", DATABASE_URL=NOWHERE)
    key = secrets.token_urlsafe(64)
    production = {"PLATFORM_ENV": "production", "SECRET_KEY": key, "ALLOWED_HOSTS": "shop.example.com"}
    database = "postgresql://reviews_svc@localhost/platform"
    checks = ("check", "--deploy", "--fail-level", "WARNING")
    project.succeeds("manage.py", "reviews_svc", *checks, **production, DATABASE_URL=database)


@pytest.mark.nightly
@pytest.mark.parametrize("block", MADE[1:], ids=str)
def test_the_commands_of_the_page_succeed(project, block):
    """Among them are `generate`, the new suite, ruff, mypy and import-linter."""
    desk = Desk(project.folder, project.environment)
    before = project.contents()
    for command in block.commands:
        desk.enter(command, timeout=400)
    assert project.contents() == before, "the code as it was made needs no change"


@pytest.mark.nightly
@pytest.mark.parametrize("block", blocks.chosen(PART), ids=str)
def test_the_page_shows_code_as_it_was_made(project, block):
    assert block.text in (project.folder / block.detail).read_text()


@pytest.mark.nightly
def test_the_container_files_are_valid_and_know_the_service(project):
    files = ("compose.yaml", "compose.prod.yaml")
    project.succeeds("-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files)
    tests = ("test_deployment_files.py", "test_monitoring.py", "test_environment.py", "test_generate.py")
    project.succeeds("-m", "pytest", "-q", *(f"tests/platform_core/{name}" for name in tests))


@pytest.mark.nightly
def test_six_services_run_and_the_sixth_answers(project, stack):
    desk = Desk(project.folder, {**project.environment, **stack.environment})
    (block,) = blocks.chosen(RUN, STARTED)
    answers = [desk.enter(ports_in(command, stack.ports, SIX)) for command in block.commands]
    made, read, page, events = map(json.loads, answers[:4])
    assert (made["id"], made["name"]) == ("1", "Bright lamp")
    assert read == made
    assert page["results"] == [made]
    assert [(event["type"], event["source"]) for event in events] == [("review.created", "reviews-service")]
    assert answers[4].count(" ok ") == len(SIX)
    again = json.loads(desk.enter(ports_in(block.commands[0], stack.ports, SIX)))
    assert again == made, "the key makes it once"
    assert len(stack.workers()) == len([service for service in SIX if service.has_worker])


@pytest.fixture
def fresh(folder: Path, request: pytest.FixtureRequest) -> Iterator[Copy]:
    home = folder / request.node.name
    home.mkdir()
    yield Copy(home)
    shutil.rmtree(home)


def test_when_a_step_fails_everything_is_as_it_was(fresh):
    """The last step cannot write compose.prod.yaml, whose marks are missing."""
    file = fresh.folder / "compose.prod.yaml"
    file.write_text(file.read_text().replace("# end generated: databases\n", ""))
    before = fresh.contents()
    done = fresh.run("manage.py", "new_service", "reviews")
    assert done.returncode == 1
    assert "nothing was created" in done.stdout and "compose.prod.yaml" in done.stdout
    assert fresh.contents() == before
    assert not (fresh.folder / "reviews_svc").exists()


def test_files_with_changes_that_are_not_committed_are_not_touched(fresh):
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@example.com", *arguments], cwd=fresh.folder)

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "All of it")
    topology = fresh.folder / "platform_core" / "topology.py"
    topology.write_text(topology.read_text() + "\n")
    before = fresh.contents()
    done = fresh.run("manage.py", "new_service", "reviews")
    assert done.returncode == 1
    assert "Commit or undo your changes first" in done.stdout and "platform_core/topology.py" in done.stdout
    assert fresh.contents() == before
