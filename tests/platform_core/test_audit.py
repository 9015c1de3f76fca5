"""`python -m tests.audit`, with a program in place of pip-audit."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from platform_core.conf.environment import ROOT
from tests import audit

LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))
BAD = {"name": "django", "version": "3.2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.2.1", "4.0"]}]}
GOOD = {"name": "django", "version": "5.2.19", "vulns": []}
SKIPPED = {"name": "django", "skip_reason": "Dependency not found on PyPI"}
AWAY = "requests.exceptions.ConnectionError: Failed to resolve"

PROGRAM = """
import json, pathlib, sys
*_, file = sys.argv
plan = json.loads(pathlib.Path(sys.argv[1]).read_text())
answer = plan.get(pathlib.Path(file).name, plan["others"])
pathlib.Path(sys.argv[1] + ".asked").open("a").write(pathlib.Path(file).name + "\\n")
if isinstance(answer, str):
    sys.exit(answer)
pathlib.Path(sys.argv[sys.argv.index("--output") + 1]).write_text(json.dumps({"dependencies": [answer], "fixes": []}))
sys.exit(bool(answer.get("vulns")))
"""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs it with these answers by file. Returns the exit code, what it printed, and the files it asked about."""

    def run(*arguments: str, known: object = BAD, others: object = GOOD, **files: object) -> tuple[int, str, list[str]]:
        program, plan = tmp_path / "program.py", tmp_path / "plan"
        program.write_text(PROGRAM)
        by_file = {f"{name.replace('_', '-')}.lock": each for name, each in files.items()}
        plan.write_text(json.dumps({"known.txt": known, "others": others, **by_file}))
        code = audit.main(arguments, (sys.executable, str(program), str(plan)))
        return code, capsys.readouterr().out, Path(f"{plan}.asked").read_text().split()

    return run


def test_it_asks_about_every_lock_file(run):
    code, said, asked = run()
    assert (code, asked) == (0, ["known.txt", *LOCKS])
    assert said == "No known vulnerability in the lock files.\n"


def test_a_vulnerability_is_an_error(run):
    code, said, _ = run(requirements_dev=BAD)
    assert code == 1
    assert said == "requirements-dev.lock: django 3.2.0: PYSEC-1, fixed in 3.2.1, 4.0\n"


@pytest.mark.parametrize(
    "known", [GOOD, SKIPPED, AWAY, "Traceback: anything"], ids=["knows none", "skips", "away", "fails"]
)
@pytest.mark.parametrize("arguments, expected", [([], 0), (["--required"], 1)])
def test_a_database_that_cannot_be_reached_is_an_error_only_when_it_is_required(run, known, arguments, expected):
    code, said, asked = run(*arguments, known=known)
    assert (code, asked) == (expected, ["known.txt"])
    assert said.startswith("Not run here: pip-audit. The database of vulnerabilities cannot be reached (")


def test_a_vulnerability_counts_though_the_database_is_lost_on_the_way(run):
    code, said, _ = run(others=AWAY, **{LOCKS[0].removesuffix(".lock"): BAD})
    assert code == 1
    assert "Not run here" in said
    assert "PYSEC-1" in said


def test_packages_that_the_database_does_not_know_are_named(run):
    assert run(requirements=SKIPPED)[:2] == (
        0,
        "Not in the database: django.\nNo known vulnerability in the lock files.\n",
    )
    assert run("--required", requirements=SKIPPED)[0] == 1


def test_a_lock_file_that_cannot_be_read_is_an_error(run):
    with pytest.raises(RuntimeError, match="cannot parse"):
        run(requirements="cannot parse")
