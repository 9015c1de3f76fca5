"""Tables for terminals of any width."""

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table

_ANY_WIDTH = 1000


def fitted(console: Console, table: Table) -> RenderableType:
    """The table, or where it is wider than the console, a paragraph for each of its rows: nothing is cut off."""
    if console.measure(table, options=console.options.update(width=_ANY_WIDTH)).maximum <= console.width:
        return table
    first, *rest = table.columns
    parts: list[RenderableType] = [table.title] if table.title else []
    for number, name in enumerate(first.cells):
        cells = ((str(column.header), str(list(column.cells)[number])) for column in rest)
        parts += [name, Padding(", ".join(f"{header} {cell}" for header, cell in cells if cell), (0, 0, 0, 4))]
    return Group(*parts)
