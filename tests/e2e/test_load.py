"""`manage.py load`: virtual users place orders, and the summary reports the results."""

import itertools
import json
import os
import pty
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from platform_core.conf.environment import ROOT
from platform_core.stack.processes import die_with_parent
from platform_core.tools.load import MIX, mix_of
from platform_core.topology import PRODUCT, SERVICES
from tests.e2e.stack import TIMEOUT, Stack, eventually, migrated_server, own_folder, slow
from tests.e2e.test_production import Person, Production
from tests.ports import free_ports
from tests.servers import Received, Wire, answers, refused_url, serving


@pytest.mark.parametrize("text", ["", "browse", "browse=x", "browse=0", "dance=1", "order=-1", "order=1,"])
def test_a_mix_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="weights such as"):
        mix_of(text)


def test_users_shop_and_the_summary_has_every_endpoint(stack: Stack, tmp_path):
    file = tmp_path / "load.json"
    done = stack.run("load", "--users", "3", "--seconds", "3", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    assert list(report) == ["users", "mix", "seconds", "total", "endpoints", "remarks", "entering"]
    assert list(report["entering"]) == ["seconds", "total", "endpoints", "remarks"]
    assert report["users"] == 3
    assert report["mix"] == MIX
    assert report["remarks"] == {}
    assert report["total"]["failures"] == 0
    assert report["entering"]["total"]["failures"] == 0
    assert report["total"]["perSecond"] > 1
    assert 3 <= report["seconds"] < 3 + TIMEOUT
    assert set(report["entering"]["endpoints"]) == {"user POST /api/users", "user POST /api/auth/token"}
    each = {**report["entering"]["endpoints"], **report["endpoints"]}
    for name in (*report["entering"]["endpoints"], "product GET /api/products", "order POST /api/orders"):
        assert name in done.stdout
        endpoint = each[name]
        assert list(endpoint) == ["requests", "perSecond", "milliseconds", "outcomes", "failures"]
        assert set(endpoint["outcomes"]) <= {"503 unavailable"}, name  # which a busy machine may bring about
        assert list(endpoint["milliseconds"]) == ["p50", "p95", "p99", "max"]
    for endpoint in each.values():
        p50, p95, p99, most = endpoint["milliseconds"].values()
        assert 0 < p50 <= p95 <= p99 <= most
        if endpoint["requests"] < 100:  # the 99th percentile is the longest
            assert p99 == pytest.approx(most, rel=0.006)
    assert sum(endpoint["requests"] for endpoint in report["endpoints"].values()) == report["total"]["requests"]


def test_orders_under_load_keep_the_promises(stack: Stack):
    assert stack.run("load", "--users", "4", "--seconds", "2", "--mix", "order=3,cancel=1").returncode == 0
    done = stack.run("verify")
    assert done.returncode == 0, done.stdout


@contextmanager
def started(
    stack: Stack, *options: str, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str]]]:
    """`load` on a terminal of 80 columns, and what that shows; standard error must stay empty."""
    ours, theirs = pty.openpty()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            stack.command("load", *options),
            cwd=ROOT,
            env={**stack.environment, "COLUMNS": "80", "TERM": "xterm", **variables},
            stdin=theirs,
            stdout=theirs,
            stderr=errors,
            preexec_fn=die_with_parent,
        )
        os.close(theirs)
        os.set_blocking(ours, False)
        shown = bytearray()

        def read() -> str:
            try:
                while more := os.read(ours, 65536):
                    shown.extend(more)
            except OSError:
                pass  # nothing now, or it has ended
            return shown.decode(errors="replace")

        try:
            yield process, read
        finally:
            process.kill()
            process.wait(TIMEOUT)
            os.close(ours)
            errors.seek(0)
            said = errors.read().decode()
        assert said == ""


def ended(process: subprocess.Popen[bytes], read: Callable[[], str], number: int, code: int = 0) -> str:
    """Sends a signal and returns all output of the terminal after the process has ended."""
    process.send_signal(number)
    eventually("its end", lambda: read() and process.poll() is not None, TIMEOUT)
    assert process.returncode == code
    assert "Traceback" not in read()
    assert "KeyboardInterrupt" not in read()
    return read()


@pytest.mark.parametrize("number", [signal.SIGINT, slow(signal.SIGTERM)])
def test_a_live_table_fits_a_narrow_terminal_and_a_signal_ends_the_run_with_its_summary(stack, tmp_path, number):
    file = tmp_path / "load.json"
    with started(stack, "--users", "2", "--seconds", "600", "--json", str(file)) as (process, read):
        eventually("live figures", lambda: "Shopping: 2" in read(), TIMEOUT)
        shown = ended(process, read, number)
    lines = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "\n", shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(line for line in lines if line.startswith("│")), "nothing is cut off"
    report = json.loads(file.read_text())
    (last,) = re.findall(r"Shopping: ([\d.]+) s", shown)[-1:]
    assert float(last) == pytest.approx(report["seconds"], abs=0.06)
    assert report["endpoints"]["order POST /api/orders"]["requests"] > 0
    figures = report["total"]
    *_, total = (" ".join(lines[n + 1 : n + 3]) for n, line in enumerate(lines) if line.strip() == "all")
    assert f"requests {figures['requests']}, per second {figures['perSecond']:.1f}, " in " ".join(total.split())


@pytest.mark.nightly
def test_runs_can_be_started_and_watched_on_locusts_page(stack: Stack, tmp_path):
    file = tmp_path / "load.json"
    (port,) = free_ports(1)
    page = f"http://127.0.0.1:{port}"
    with started(stack, "--web", str(port), "--users", "2", "--json", str(file)) as (process, read):
        eventually("the page's address", lambda: page in read(), TIMEOUT)
        assert "<title>Locust</title>" in requests.get(page, timeout=TIMEOUT).text
        assert not file.read_text()
        for users in ("2", "1"):
            began = requests.post(f"{page}/swarm", data={"user_count": users, "spawn_rate": "2"}, timeout=TIMEOUT)
            assert began.json()["success"], began.text

            def names() -> set[str]:
                figures = requests.get(f"{page}/stats/requests", timeout=TIMEOUT).json()
                return {entry["name"] for entry in figures["stats"]}

            eventually("orders on the page", lambda: "order POST /api/orders" in names(), TIMEOUT)
            assert requests.post(f"{page}/stop", timeout=TIMEOUT).json()["success"]
            report = json.loads(file.read_text())
            assert report["users"] == int(users)
            assert report["entering"]["endpoints"]["user POST /api/users"]["requests"] == int(users)
        assert ended(process, read, signal.SIGTERM).count("Shopping: ") == 2


@pytest.mark.nightly
def test_a_page_on_which_nothing_was_started_has_no_summary(stack: Stack, tmp_path):
    (port,) = free_ports(1)
    file = tmp_path / "load.json"
    with started(stack, "--web", str(port), "--json", str(file)) as (process, read):
        eventually("the page's address", lambda: f"http://127.0.0.1:{port}" in read(), TIMEOUT)
        assert "Shopping" not in ended(process, read, signal.SIGINT)
    assert not file.read_text()


def test_a_page_needs_a_free_port(stack: Stack):
    done = stack.run("load", "--web", str(stack.ports[PRODUCT.package]))
    assert done.returncode == 1
    assert done.stderr == f"Port {stack.ports[PRODUCT.package]} is in use; --web PORT chooses another one.\n"


def test_a_summary_that_cannot_be_written_is_refused_before_the_run(stack: Stack, tmp_path):
    done = stack.run("load", "--json", str(tmp_path / "missing" / "load.json"))
    assert done.returncode == 1
    assert done.stderr.endswith("load.json cannot be written: No such file or directory.\n")


def test_without_the_platform_it_says_so_in_a_line(own_stack: Stack):
    done = own_stack.run("load", "--users", "1", "--seconds", "1")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_locust_a_line_says_how_to_install_it(own_stack: Stack, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['locust'] = None")
    done = own_stack.run("load", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith("locust is not installed.")
    assert re.search(r"python\S* -m pip install -r \S*requirements-dev.txt$", done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.nightly
def test_an_absent_service_is_a_failure(stack: Stack, tmp_path):
    file = tmp_path / "load.json"
    options = ("--users", "2", "--seconds", "1", "--mix", "browse=1,order=2", "--json", str(file))
    done = stack.run("load", *options, ORDER_SERVICE_URL=refused_url())
    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads(file.read_text())
    orders = report["endpoints"]["order POST /api/orders"]
    assert orders["failures"] == orders["outcomes"]["no answer"] == orders["requests"] == report["total"]["failures"]
    assert f"{orders['requests']} × no answer: order POST /api/orders" in done.stdout


@pytest.mark.nightly
def test_failures_to_sign_up_count_when_the_run_is_interrupted(stack: Stack):
    with started(stack, "--users", "1", "--seconds", "600", USER_SERVICE_URL=refused_url()) as (process, read):
        eventually("users who browse", lambda: "Shopping" in read(), TIMEOUT)
        shown = ended(process, read, signal.SIGINT, code=1)
    assert "users who could not sign up (no answer) and only browsed" in shown


REFUSED = answers({"code": "insufficient_stock"}, 409)
BUSY = answers({"code": "unavailable"}, 503, {"Retry-After": "1"})
BROKEN = answers({"code": "internal_error"}, 500)
AWAY = answers({"code": "bad_gateway"}, 503)
GARBLED, ODD = answers(b"<html>", 201), answers(["order"], 201)


@pytest.mark.parametrize(
    ("faults", "outcomes"),
    [
        ([], {"409 insufficient_stock", "503 unavailable"}),
        (
            [BROKEN, AWAY, GARBLED, ODD],
            {"409 insufficient_stock", "503 unavailable", "500 internal_error", "503 bad_gateway", "201"},
        ),
    ],
)
def test_refusals_are_counted_and_faults_are_failures(own_stack: Stack, tmp_path, faults, outcomes):
    turns = itertools.cycle([answers({"id": "1"}, 201), REFUSED, BUSY, *faults])
    answer_to = {
        "/api/users": answers({"id": "1"}, 201),
        "/api/auth/token": answers({"access": "token", "expiresIn": 0.5}),
        "/api/products": answers({"results": [{"id": str(n), "stock": 1_000_000} for n in range(20)]}),
    }
    taken = []

    def platform(wire: Wire, request: Received) -> bool | None:
        path = request.path.split("?")[0]
        answer = answer_to.get(path) or next(turns)
        if path not in answer_to:
            taken.append((request.headers["Idempotency-Key"], request.headers["Authorization"], request.json, answer))
        return answer(wire, request)

    file = tmp_path / "load.json"
    with serving() as server:
        server.will(platform)
        urls = {service.url_variable: server.url for service in SERVICES}
        options = ("--users", "2", "--seconds", "1", "--mix", "order=1", "--json", str(file))
        done = own_stack.run("load", *options, **urls)
    assert done.returncode == (1 if faults else 0), done.stdout + done.stderr
    assert done.stderr == ""
    report = json.loads(file.read_text())
    keys, authorizations, orders, given = zip(*taken, strict=True)
    counted = report["endpoints"]["order POST /api/orders"]
    assert set(counted["outcomes"]) == outcomes
    assert counted["failures"] == report["total"]["failures"] == sum(answer in faults for answer in given)
    assert counted["requests"] == len(taken) == len(set(keys))
    assert set(authorizations) == {"Bearer token"}
    assert {order["userId"] for order in orders} == {"1"}
    assert report["endpoints"]["user POST /api/auth/token"]["requests"] >= 2, "each signs in again before a token ends"


@pytest.fixture(scope="module")
def closed(template: Path) -> Iterator[Production]:
    """Production, where no more than two accounts an hour may be made."""
    with own_folder() as folder, migrated_server(template) as database_url:
        stack = Production(folder, database_url)
        stack.variables |= {"SIGN_UPS_PER_HOUR": "2"}
        try:
            assert stack.run("keys").returncode == 0
            yield stack.up()
        finally:
            stack.stop()


@pytest.mark.nightly
def test_in_production_it_signs_in_and_says_what_it_could_not_do(closed: Production):
    done = closed.run("load", "--users", "3", "--seconds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "users who could not sign up (429" in done.stdout
    assert "SIGN_UPS_PER_HOUR" in done.stdout
    assert "products of its own could not be made (401" in done.stdout
    assert "nothing was ordered" in done.stdout


@pytest.mark.nightly
def test_in_production_it_fills_its_shelf_with_a_token_of_the_staff(closed: Production):
    boss = Person(closed, "boss@example.com", closed.staff("boss@example.com", "admin"))
    done = closed.run("load", "--users", "1", "--seconds", "1", STAFF_TOKEN=boss.pair["access"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert boss.get(PRODUCT, "/api/products?search=loadtest")["results"]
