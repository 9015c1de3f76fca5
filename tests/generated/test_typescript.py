"""openapi-typescript makes types of the five documents. A program that uses them compiles strictly, and works."""

import shutil
import subprocess
from pathlib import Path

import pytest

from platform_core.topology import ORDER, PRODUCT, SERVICES, USER
from tests.documents import committed

HERE = Path(__file__).parent / "typescript"
SECONDS = 300
COMPILED = ("--strict", "--module", "nodenext", "--target", "es2022")

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, and the types of each document beside it."""
    folder = tmp_path_factory.mktemp("typescript")
    for path in HERE.iterdir():
        shutil.copy(path, folder)
    succeeds(folder, "npm", "ci", "--no-audit", "--no-fund")
    for service in SERVICES:
        tool(folder, "openapi-typescript", str(committed(service)), "-o", f"{service.stem}.ts")
    return folder


def succeeds(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def tool(folder: Path, name: str, *arguments: str) -> str:
    return succeeds(folder, str(folder / "node_modules" / ".bin" / name), *arguments)


def test_redocly_finds_no_error_by_its_recommended_rules(folder):
    said = tool(folder, "redocly", "lint", "--extends=recommended", *(str(committed(service)) for service in SERVICES))
    assert "Your API descriptions are valid" in said


def test_spectral_finds_nothing_by_its_rules_for_openapi(folder):
    """Warnings count, too."""
    documents = [str(committed(service)) for service in SERVICES]
    said = tool(folder, "spectral", "lint", "--fail-severity=hint", "--ruleset=spectral.yaml", *documents)
    assert "No results with a severity of 'hint' or higher found!" in said


def test_the_program_orders_turns_pages_cancels_and_deletes(folder, stack):
    tool(folder, "tsc", *COMPILED, "shop.ts", *(f"{service.stem}.ts" for service in SERVICES))
    urls = [stack.direct(service) for service in (USER, PRODUCT, ORDER)]
    assert "Done." in succeeds(folder, "node", "shop.js", *urls)
