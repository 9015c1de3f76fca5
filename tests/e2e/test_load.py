"""`manage.py load`: virtual users shop, and what they saw is told."""

import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform_core.stack.load import MIX, Histogram, mix_of
from platform_core.topology import PRODUCT
from tests.e2e.stack import Stack
from tests.e2e.test_production import Person, Production
from tests.suites import temporary_server


def test_percentiles_are_within_two_percent_of_the_true_ones():
    numbers = random.Random(1)
    times = sorted(numbers.lognormvariate(3, 1.5) for _ in range(20_000))
    histogram = Histogram()
    for time in times:
        histogram.add(time)
    for percent in (50, 95, 99):
        assert histogram.percentile(percent) == pytest.approx(times[int(len(times) * percent / 100)], rel=0.02)
    assert histogram.most == times[-1]


def test_times_beyond_the_buckets_are_counted_and_nothing_is_told_of_nothing():
    histogram = Histogram()
    assert histogram.percentile(99) == 0
    for time in (0.0, 10_000_000.0):
        histogram.add(time)
    assert histogram.count == 2


@pytest.mark.parametrize("text", ["", "browse", "browse=x", "browse=0", "dance=1", "order=-1"])
def test_a_mix_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="weights such as"):
        mix_of(text)


def test_users_shop_and_the_summary_tells_of_every_endpoint(stack: Stack, tmp_path):
    file = tmp_path / "load.json"
    done = stack.run("load", "--users", "3", "--seconds", "3", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(file.read_text())
    assert report["users"] == 3
    assert report["mix"] == MIX
    assert report["remarks"] == {}
    assert report["total"]["failures"] == 0
    assert report["entering"]["total"]["failures"] == 0
    assert report["total"]["perSecond"] > 1
    each = {**report["entering"]["endpoints"], **report["endpoints"]}
    for name in (
        "user POST /api/users",
        "user POST /api/auth/token",
        "product GET /api/products",
        "order POST /api/orders",
    ):
        assert name in done.stdout
        endpoint = each[name]
        assert set(endpoint["outcomes"]) <= {"503 unavailable"}, name  # which a busy machine may bring about
        p50, p95, p99, most = endpoint["milliseconds"].values()
        assert 0 < p50 <= p95 <= p99 <= most
    assert sum(endpoint["requests"] for endpoint in report["endpoints"].values()) == report["total"]["requests"]


def test_what_was_ordered_under_load_keeps_the_promises(stack: Stack):
    assert stack.run("load", "--users", "4", "--seconds", "2", "--mix", "order=3,cancel=1").returncode == 0
    done = stack.run("verify")
    assert done.returncode == 0, done.stdout


def test_without_the_platform_it_says_so_in_a_line(own_stack: Stack):
    done = own_stack.run("load", "--users", "1", "--seconds", "1")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def closed() -> Iterator[Production]:
    """Production, where no more than two accounts an hour may be made."""
    with tempfile.TemporaryDirectory(prefix="platform-e2e-") as name, temporary_server() as database_url:
        Path(name).chmod(0o755)
        stack = Production(Path(name), database_url)
        stack.variables |= {"SIGN_UPS_PER_HOUR": "2"}
        try:
            assert stack.run("keys").returncode == 0
            yield stack.up()
        finally:
            stack.stop()


def test_in_production_it_signs_in_and_says_what_it_could_not_do(closed: Production):
    done = closed.run("load", "--users", "3", "--seconds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "users who could not sign up (429" in done.stdout
    assert "SIGN_UPS_PER_HOUR" in done.stdout
    assert "products of its own could not be made (401" in done.stdout
    assert "nothing was ordered" in done.stdout


def test_in_production_it_fills_its_shelf_with_a_token_of_the_staff(closed: Production):
    boss = Person(closed, "boss@example.com", closed.staff("boss@example.com", "admin"))
    done = closed.run("load", "--users", "1", "--seconds", "1", STAFF_TOKEN=boss.pair["access"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert boss.get(PRODUCT, "/api/products?search=loadtest")["results"]
