"""Querysets that Django compiles once: to make a statement anew for each request costs thrice what it takes to run."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from platform_core.api.fields import MAX_ID
from platform_core.database import prepared

Values = Mapping[str, Any]


class Compiled:
    """The SELECT of ``build(values)``, to be run with other values of the same shape.

    ``build`` may only hand the values on to the queryset: in its place it gets stand-ins for all but those that are
    true or false, and where these turn up among the statement's parameters, the values go.
    """

    def __init__(self, build: Callable[[Values], QuerySet[Any, Any]], values: Values) -> None:
        stand_ins = {name: _stand_in(value, number) for number, (name, value) in enumerate(values.items())}
        compiler = build(stand_ins).query.get_compiler(connection=connection)
        self._statement, parameters = compiler.as_sql()
        assert not compiler.get_converters([selected for selected, _, _ in compiler.select])
        names = {stand_in: name for name, stand_in in stand_ins.items() if not isinstance(stand_in, bool)}
        self._parameters = [(names.get(parameter), parameter) for parameter in parameters]
        assert names.keys() <= set(parameters), "a value was not handed on as it is"

    def rows(self, values: Values, limit: int, *, one_plan: bool = False) -> Sequence[tuple[Any, ...]]:
        """At most ``limit`` rows. ``one_plan``: what is best for some values is best for all of them.

        Else Postgres plans for these very values: a range of prices may hold few rows or most.
        """
        statement = f"{self._statement} LIMIT {limit:d}"
        if one_plan:
            return prepared(statement, self._with(values))
        with connection.cursor() as cursor:
            cursor.execute(statement, self._with(values))
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def row(self, values: Values) -> tuple[Any, ...] | None:
        """The row that they name, if there is one. One plan does for all of them."""
        rows = prepared(self._statement, self._with(values))
        return rows[0] if rows else None

    def _with(self, values: Values) -> list[Any]:
        return [parameter if name is None else values[name] for name, parameter in self._parameters]


def compiled(name: Hashable, build: Callable[[Values], QuerySet[Any, Any]], values: Values) -> Compiled:
    """The one for values of this shape, by the ``name`` of what ``build`` does, made when it is first asked for."""
    shape = tuple((key, value if isinstance(value, bool) else type(value)) for key, value in values.items())
    found = _made.get((name, shape))
    return found or _made.setdefault((name, shape), Compiled(build, values))


_made: dict[Hashable, Compiled] = {}
"""As many as there are combinations of filters and orders that somebody has asked for."""


def _stand_in(value: Any, number: int) -> Any:
    match value:
        case bool():
            return value
        case int():
            return MAX_ID - number
        case Decimal():
            return Decimal("9876543210.00") + number
        case datetime():
            return datetime(9999, 1, 1, tzinfo=UTC) + timedelta(number)
        case str():
            return f"stand-in {number} of {id(Compiled)}"
    raise TypeError(f"There is no stand-in for {value!r}.")
