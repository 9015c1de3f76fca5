"""The typed clients send valid requests and understand the documented responses."""

import re

from platform_core.conf.environment import ROOT
from platform_core.topology import SERVICES
from tests.contracts import *  # noqa: F403
from tests.contracts import uncovered

CALLEES = SERVICES


def test_every_function_of_the_typed_clients_has_a_contract():
    assert not uncovered()


def test_services_are_only_called_through_typed_clients():
    packages = ["platform_core", *(service.package for service in SERVICES)]
    sources = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    using = {file.parent.name for file in sources if re.search(r"clients\.(engine|exchange) import", file.read_text())}
    assert using == {"clients"}
