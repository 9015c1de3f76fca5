"""Tables of commands, on terminals of any width."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from platform_core.tools.tables import fitted


@pytest.mark.parametrize("width, is_table", [(200, True), (79, False), (40, False)])
def test_a_table_that_does_not_fit_becomes_paragraphs_in_which_nothing_is_cut(width, is_table):
    table = Table("service", "URL", "state", "version", "mode", "up for")
    url = "http://127.0.0.1:8001"
    table.add_row("user-service", url, "[green]ok[/]", "1.0.0", "development, and more", "12 s")
    table.add_row("notification-service", url, "[red]no answer[/]", "", "", "")
    out = io.StringIO()
    console = Console(file=out, width=width)
    console.print(fitted(console, table))
    shown = out.getvalue()
    for text in ("user-service", "notification-service", url, "1.0.0", "no answer", "12 s"):
        assert text in " ".join(shown.split())
    assert all(len(line) <= width for line in shown.splitlines())
    assert ("\u2503" in shown) == is_table


def test_of_every_width_a_table_of_figures_is_shown_whole():
    table = Table()
    table.add_column("endpoint", overflow="fold")
    for heading in ("requests", "per second", "p50", "p95", "p99", "max", "failures"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("order POST /api/orders/{id}/cancel", *("1234567", "123.4", "1.0", "22.2", "333.3", "4444.4", "0"))
    shapes = set()
    for width in range(40, 140):
        out = io.StringIO()
        Console(file=out, width=width).print(fitted(Console(width=width), table))
        assert "\u2026" not in out.getvalue(), width
        assert "/api/orders/{id}/cancel" in out.getvalue(), width
        shapes.add("\u2503" in out.getvalue())
    assert shapes == {True, False}
