"""Tables for terminals of any width."""

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table

_ANY_WIDTH = 1000


def fitted(console: Console, table: Table) -> RenderableType:
    """The table, or a paragraph for each row if the table does not fit. Nothing is cut off."""
    if fits(console, table):
        return table
    first, *rest = table.columns
    parts: list[RenderableType] = [table.title] if table.title else []
    for number, name in enumerate(first.cells):
        cells = ((str(column.header), str(list(column.cells)[number])) for column in rest)
        parts += [name, Padding(", ".join(f"{header} {cell}" for header, cell in cells if cell), (0, 0, 0, 4))]
    return Group(*parts)


def fits(console: Console, table: Table) -> bool:
    """Whether the table fits without breaking a word or a heading of a ``no_wrap`` column."""
    least = console.measure(table, options=console.options.update(width=_ANY_WIDTH)).minimum
    headings = [str(column.header) for column in table.columns if column.no_wrap]
    return console.width >= least + sum(
        len(heading) - max(map(len, heading.split())) for heading in headings if heading
    )
