"""A shop's currency: its decimals, and that a schema keeps it."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from platform_core.conf.environment import EXIT_CODE, ROOT
from platform_core.topology import ORDER, PRODUCT
from tests.e2e.stack import slow
from tests.ports import free_ports
from tests.suites import plain_environment, temporary_server

SECONDS = 180


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**plain_environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with temporary_server() as url:
        yield url


@pytest.mark.nightly
def test_amounts_of_a_currency_without_decimals_have_none():
    done = run("-m", "tests.e2e.scratch.products_in_yen")
    assert "all of it" in done.stdout, done.stdout


@pytest.mark.parametrize("how", ["check", slow("migrate"), slow("worker"), "web"])
def test_a_schema_keeps_the_currency_that_it_began_with(server, how):
    service: Any = ORDER
    own = {"DATABASE_URL": server, "DJANGO_SETTINGS_MODULE": service.settings_module}
    began = run("manage.py", service.package, "migrate", **own, CURRENCY="EUR")
    assert began.returncode == 0, began.stdout
    assert run("manage.py", service.package, "check", "--tag", "start", **own, CURRENCY="EUR").returncode == 0
    commands = {
        "check": ["manage.py", service.package, "check", "--tag", "start"],
        "migrate": ["manage.py", service.package, "migrate"],
        "worker": ["manage.py", service.package, "worker"],
        "web": ["-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"],
    }
    done = run(*commands[how], **own, CURRENCY="USD", PORT=str(free_ports(1)[0]))
    assert done.returncode == (EXIT_CODE if how == "web" else 1), done.stdout
    assert "platform.E020" in done.stdout
    assert "CURRENCY is USD, but the amounts of order-service are in EUR. Set CURRENCY=EUR." in done.stdout


@pytest.mark.nightly
def test_a_schema_that_has_amounts_already_is_in_dollars(server):
    own = {"DATABASE_URL": server, "DJANGO_SETTINGS_MODULE": PRODUCT.settings_module, "CURRENCY": "EUR"}
    assert run("manage.py", PRODUCT.package, "migrate", **own).returncode == 0
    back = run("manage.py", PRODUCT.package, "migrate", "platform_core", "0002_failed_items", **own)
    assert back.returncode == 0, back.stdout
    add = "from product_svc.services import create_product; create_product(name='Lamp', price=1)"
    assert (added := run("manage.py", PRODUCT.package, "shell", "--command", add, **own)).returncode == 0, added.stdout
    forward = run("manage.py", PRODUCT.package, "migrate", **own)
    assert forward.returncode == 0, forward.stdout
    done = run("manage.py", PRODUCT.package, "check", "--tag", "start", **own)
    assert done.returncode == 1
    assert "are in USD" in done.stdout
