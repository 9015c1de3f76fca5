"""`python -m tests [suite ...] [pytest arguments]`: one pytest process for each suite, on one Postgres."""

import os
import signal
import subprocess
import sys
import time

from platform_core.environment import ROOT
from platform_core.stack.processes import die_with_parent
from tests.suites import EXTRA, SERVER_VARIABLE, SETTINGS, plain_environment, temporary_server

NO_TESTS_COLLECTED = 5


def main(arguments: list[str]) -> int:
    split = next((n for n, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    suites, options = arguments[:split] or [suite for suite in SETTINGS if suite not in EXTRA], arguments[split:]
    unknown = [suite for suite in suites if suite not in SETTINGS]
    if unknown:
        print(f"There is no suite {unknown[0]!r}: {', '.join(SETTINGS)}.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results: dict[str, tuple[int, float]] = {}
    with temporary_server() as url:
        environment = {**plain_environment(), SERVER_VARIABLE: url}
        for suite in suites:
            began = time.monotonic()
            print(f"\n── {suite}", flush=True)
            command = [sys.executable, "-m", "pytest", f"tests/{suite}", *options]
            code = subprocess.run(command, cwd=ROOT, env=environment, preexec_fn=die_with_parent).returncode
            results[suite] = code, time.monotonic() - began
    return tell(results, partial="-k" in options or "-m" in options)


def tell(results: dict[str, tuple[int, float]], *, partial: bool) -> int:
    """A line for each suite. A suite without tests is a failure, unless tests were chosen by name."""
    fine = {0, NO_TESTS_COLLECTED} if partial else {0}
    print()
    for suite, (code, seconds) in results.items():
        print(f"{'passed' if code in fine else 'FAILED':8}{suite:20}{seconds:6.1f} s")
    return 0 if all(code in fine for code, _ in results.values()) else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main(sys.argv[1:]))
