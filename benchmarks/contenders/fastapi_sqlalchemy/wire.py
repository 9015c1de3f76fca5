"""The shapes on the wire: camelCase, ids as strings, money as numbers, times in UTC."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path, Request
from pydantic import AliasGenerator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy import ColumnElement, FromClause

MAX_ID = 2**63 - 1

IdInPath = Annotated[int, Path(ge=0, le=MAX_ID)]
Id = Annotated[int, Field(ge=0, le=MAX_ID)]
Money = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]


class Received(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Answer(BaseModel):
    """A response from rows. It reads attributes by their names and writes them in camelCase."""

    model_config = ConfigDict(
        from_attributes=True,
        coerce_numbers_to_str=True,
        alias_generator=AliasGenerator(serialization_alias=to_camel),
    )


def columns(table: FromClause, answer: type[Answer]) -> list[ColumnElement[Any]]:
    """The columns of ``table`` for ``answer``. Rows of columns cost half as much as entities."""
    return [table.c[name] for name in answer.model_fields if name in table.c]


class PageQuery(Received):
    limit: int = Field(50, ge=1, le=200)
    offset: int = Field(0, ge=0, le=MAX_ID)


Item = TypeVar("Item")


class Page(Answer, Generic[Item]):
    results: list[Item]
    next: str | None
    previous: str | None


def page(request: Request, rows: Sequence[Any], query: PageQuery) -> dict[str, Any]:
    """Builds a page. ``rows`` has one more row than the page if there is a next page."""
    more, less = query.offset + query.limit, max(query.offset - query.limit, 0)
    return {
        "results": rows[: query.limit],
        "next": _link(request, query.limit, more) if len(rows) > query.limit else None,
        "previous": _link(request, query.limit, less) if query.offset else None,
    }


def _link(request: Request, limit: int, offset: int) -> str:
    return str(request.url.include_query_params(limit=limit, offset=offset))
