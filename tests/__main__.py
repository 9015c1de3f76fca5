"""`python -m tests [suite ...] [pytest arguments]`: one pytest process for each suite.

Several suites run in two lanes side by side, each with a Postgres of its own: those that test code with Django, and
those that drive running processes. The chaos suite, which kills what it can, runs alone.

`python -m tests --search [suite ...]` runs only the property tests, on random examples (see `tests/plugin.py`).
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence

from platform_core.conf.environment import ROOT
from platform_core.stack.processes import die_with_parent
from tests.suites import EXTRA, SERVER_VARIABLE, SETTINGS, plain_environment, temporary_server

NO_TESTS_COLLECTED = 5
SEARCH = "--search"
Results = dict[str, tuple[int, float]]
"""A suite's exit code and its seconds."""


def main(arguments: list[str]) -> int:
    searching = SEARCH in arguments
    arguments = [argument for argument in arguments if argument != SEARCH]
    split = next((n for n, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    suites, options = arguments[:split] or [suite for suite in SETTINGS if suite not in EXTRA], arguments[split:]
    options += [SEARCH] if searching else []
    unknown = [suite for suite in suites if suite not in SETTINGS]
    if unknown:
        print(f"There is no suite {unknown[0]!r}: {', '.join(SETTINGS)}.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have what runs in the background ignore Ctrl-C
    results: Results = {}
    for lanes in in_turn(suites):
        threads = [threading.Thread(target=run, args=(lane, options, results), daemon=True) for lane in lanes[1:]]
        for thread in threads:
            thread.start()
        run(lanes[0], options, results, aloud=not threads)
        for thread in threads:
            thread.join()
    return tell({suite: results[suite] for suite in suites}, partial=bool({"-k", "-m", SEARCH} & set(options)))


def in_turn(suites: Sequence[str]) -> list[list[list[str]]]:
    """Lanes that run side by side, and what comes after them."""
    with_django = [suite for suite in suites if SETTINGS[suite]]
    driving = [suite for suite in suites if not SETTINGS[suite] and suite != "chaos"]
    alone = [suite for suite in suites if suite == "chaos"]
    return [turn for lanes in ([with_django, driving], [alone]) if (turn := [lane for lane in lanes if lane])]


def run(lane: Sequence[str], options: Sequence[str], results: Results, *, aloud: bool = False) -> None:
    """A lane's suites, one after the other. Not ``aloud``, what a suite says is shown when it is done."""
    with temporary_server() as url:
        environment = {**plain_environment(), SERVER_VARIABLE: url}
        for suite in lane:
            began = time.monotonic()
            command = [sys.executable, "-m", "pytest", f"tests/{suite}", *options]
            with tempfile.TemporaryFile() as file:
                if aloud:
                    print(f"\n── {suite}", flush=True)
                output = None if aloud else file
                done = subprocess.run(
                    command, cwd=ROOT, env=environment, stdout=output, stderr=output, preexec_fn=die_with_parent
                )
                file.seek(0)
                if not aloud:
                    print(f"\n── {suite}\n{file.read().decode(errors='replace')}", flush=True)
            results[suite] = done.returncode, time.monotonic() - began


def tell(results: Results, *, partial: bool) -> int:
    """A line for each suite. A suite without tests is a failure, unless tests were chosen by name."""
    fine = {0, NO_TESTS_COLLECTED} if partial else {0}
    print()
    for suite, (code, seconds) in results.items():
        print(f"{'passed' if code in fine else 'FAILED':8}{suite:20}{seconds:6.1f} s")
    return 0 if all(code in fine for code, _ in results.values()) else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main(sys.argv[1:]))
