"""The figures of connections in the docs are those of the code."""

import re

from platform_core.conf.environment import ROOT, parsed
from platform_core.stack.capacity import connections_under_up


def test_the_page_on_operations_says_how_many_connections_the_platform_needs():
    page = " ".join((ROOT / "docs" / "operations.md").read_text().split())
    said = re.search(r"needs up to (\d+) in development and (\d+) in production", page)
    assert said is not None
    modes = ({}, {"PLATFORM_ENV": "production"})
    assert [int(number) for number in said.groups()] == [connections_under_up(parsed(mode)) for mode in modes]
