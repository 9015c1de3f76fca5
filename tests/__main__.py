"""`python -m tests [suite ...] [pytest arguments]`: one pytest process for each suite.

Two suites run side by side, each with a Postgres of its own. The e2e suite, which mostly waits, is spread over several
processes by pytest-xdist. The chaos suite loads both cores, so it runs alone.

`python -m tests --fast` runs what needs no running platform: the suites that test code with Django.

`python -m tests --all` runs the slow tests, too, that are marked as nightly.

`python -m tests e2e chaos --pooler` runs the platforms of these suites behind PgBouncer (see `tests/pooler.py`).

`python -m tests --search [suite ...]` runs only the property tests, on random examples (see `tests/plugin.py`).
"""

import compileall
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence

from platform_core.conf.environment import ROOT
from platform_core.stack.processes import die_with_parent
from platform_core.topology import SERVICES
from tests import pooler
from tests.suites import EXTRA, SERVER_VARIABLE, SETTINGS, plain_environment, temporary_server

NO_TESTS_COLLECTED = 5
LANES = 2
ALONE = frozenset({"chaos", "cluster"})
"""Suites that must run alone."""
SEARCH, FAST, ALL, POOLER = "--search", "--fast", "--all", "--pooler"
CHOOSING = {"-k", "-m", SEARCH}
"""With these options a suite may have no matching test, so it is not spread over processes."""
SPREAD = {"e2e": ("-n", "2", "--dist", "loadfile")}
"""Options of suites whose files run in several processes. The tests of a file stay together: they share a platform."""
Results = dict[str, tuple[int, float]]
"""Exit code and duration in seconds of a suite."""


def main(arguments: list[str]) -> int:
    searching = SEARCH in arguments
    is_fast = FAST in arguments
    is_pooled = POOLER in arguments
    arguments = [argument for argument in arguments if argument not in (SEARCH, FAST, POOLER)]
    split = next((n for n, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    usual = [suite for suite in SETTINGS if suite not in EXTRA and (SETTINGS[suite] or not is_fast)]
    suites, options = arguments[:split] or usual, arguments[split:]
    options += [SEARCH] if searching else []
    unknown = [suite for suite in suites if suite not in SETTINGS]
    if unknown:
        print(f"There is no suite {unknown[0]!r}: {', '.join(SETTINGS)}.", file=sys.stderr)
        return 2
    if is_pooled and pooler.program() is None:
        print(pooler.MISSING, file=sys.stderr)
        return 2
    os.environ |= {pooler.SWITCH: "1"} if is_pooled else {}
    compile_once()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells let background jobs ignore Ctrl-C
    results: Results = {}
    for together in in_turn(suites):
        queue = deque(together)
        loud = len(together) == 1
        lanes = [threading.Thread(target=lane, args=(queue, options, results), daemon=True) for _ in together[1:LANES]]
        for thread in lanes:
            thread.start()
        lane(queue, options, results, aloud=loud)
        for thread in lanes:
            thread.join()
    code = tell({suite: results[suite] for suite in suites}, partial=bool(CHOOSING & set(options)))
    if {"e2e", "browser", "cluster"} & set(suites) and not {ALL, SEARCH} & set(options):
        print("\nNot run: the slow tests that are marked as nightly. `python -m tests --all` runs them.")
    if {"e2e", "platform_core"} & set(suites) and pooler.program() is None:
        print(f"\nNot run: the tests of the platform behind a pooler. {pooler.MISSING}.")
    return code


def in_turn(suites: Sequence[str]) -> list[list[str]]:
    """Suites that run in parallel, longest first, and suites that run after them."""
    together = sorted((suite for suite in suites if suite not in ALONE), key=lambda suite: suite not in SPREAD)
    return [together, *([suite] for suite in suites if suite in ALONE)]


def lane(queue: "deque[str]", options: Sequence[str], results: Results, *, aloud: bool = False) -> None:
    """Runs suites from the queue one after the other. Prints their output at the end of each, or at once
    if ``aloud``.
    """
    with temporary_server() as url:
        environment = {**plain_environment(), SERVER_VARIABLE: url}
        while suite := next_of(queue):
            began = time.monotonic()
            spread = () if CHOOSING & set(options) else SPREAD.get(suite, ())
            command = [sys.executable, "-m", "pytest", f"tests/{suite}", *spread, *options]
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


def next_of(queue: "deque[str]") -> str | None:
    try:
        return queue.popleft()
    except IndexError:
        return None


def tell(results: Results, *, partial: bool) -> int:
    """A line for each suite. A suite without tests is a failure, unless tests were chosen by name."""
    fine = {0, NO_TESTS_COLLECTED} if partial else {0}
    print()
    for suite, (code, seconds) in results.items():
        print(f"{'passed' if code in fine else 'FAILED':8}{suite:20}{seconds:6.1f} s")
    return 0 if all(code in fine for code, _ in results.values()) else 1


def compile_once() -> None:
    """Write the bytecode of the project. Hundreds of processes import it, and some may not write any themselves."""
    for package in ("platform_core", "tests", *(service.package for service in SERVICES)):
        compileall.compile_dir(ROOT / package, quiet=2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
