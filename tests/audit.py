"""Compares the lock files with the known vulnerabilities: ``python -m tests.audit [--required]``.

It calls pip-audit, which must be importable (requirements-audit.lock), and asks the database of PyPI. A vulnerability
ends it with 1. Where the database cannot be reached it says so; that is an error only with ``--required``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
KNOWN = "Django==3.2.0"
"""A version with known vulnerabilities. A database that does not know them knows nothing of the others, either."""
PIP_AUDIT = (sys.executable, "-m", "pip_audit")
SECONDS = 600
NETWORK = (
    "ConnectionError",
    "Could not connect",
    "ReadTimeout",
    "ConnectTimeout",
    "HTTPError",
    "ProxyError",
    "SSLError",
)


class Unreachable(Exception):
    """The database cannot be asked."""


class Found(NamedTuple):
    """The vulnerabilities, and the packages that the database does not know."""

    vulnerable: list[str]
    unknown: list[str]


def audit(program: Sequence[str], *arguments: str) -> Found:
    """What pip-audit reports. Raises Unreachable; RuntimeError if it fails for another reason."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        options = ("--disable-pip", "--progress-spinner", "off", "--format", "json", "--output", str(report))
        try:
            done = subprocess.run(
                [*program, *options, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(f"pip-audit has not ended within {SECONDS} s") from None
        if not report.exists():
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise Unreachable(last) if any(name in done.stderr for name in NETWORK) else RuntimeError(last)
        return read(json.loads(report.read_text()))


def read(report: Any) -> Found:
    """The findings in pip-audit's JSON."""
    dependencies = report["dependencies"]
    return Found(
        [line for each in dependencies for line in _vulnerabilities(each)],
        [each["name"] for each in dependencies if "skip_reason" in each],
    )


def _vulnerabilities(dependency: Any) -> Iterator[str]:
    for each in dependency.get("vulns", ()):
        fixes = ", ".join(each["fix_versions"]) or "no version"
        yield f"{dependency['name']} {dependency['version']}: {each['id']}, fixed in {fixes}"


def require_database(program: Sequence[str]) -> None:
    """Raises Unreachable unless the database knows what everybody knows, whatever the reason."""
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder, "known.txt")
        known.write_text(f"{KNOWN}\n")
        try:
            found = audit(program, "--no-deps", "--requirement", str(known))
        except RuntimeError as error:
            raise Unreachable(str(error)) from None
        if not found.vulnerable:
            raise Unreachable(f"it knows of no vulnerability of {KNOWN}")


def main(arguments: Sequence[str] | None = None, program: Sequence[str] = PIP_AUDIT) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Compares the lock files with the known vulnerabilities.")
    parser.add_argument("--required", action="store_true", help="fail if the database cannot be reached")
    is_required = parser.parse_args(arguments).required
    vulnerable: set[str] = set()
    unknown: set[str] = set()
    try:
        require_database(program)
        for lock in sorted(ROOT.glob("requirements*.lock")):
            found = audit(program, "--require-hashes", "--requirement", str(lock))
            vulnerable.update(f"{lock.name}: {each}" for each in found.vulnerable)
            unknown.update(found.unknown)
    except Unreachable as reason:
        print(f"Not run here: pip-audit. The database of vulnerabilities cannot be reached ({reason}).")
        if not vulnerable:
            return 1 if is_required else 0
    if unknown:
        print(f"Not in the database: {', '.join(sorted(unknown))}.")
    print("\n".join(sorted(vulnerable)) if vulnerable else "No known vulnerability in the lock files.")
    return 1 if vulnerable or (unknown and is_required) else 0


if __name__ == "__main__":
    sys.exit(main())
