"""The seam between DRF and the use cases: a viewset reads the request, calls one function, answers."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

from django.db.models import Model, QuerySet
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.viewsets import GenericViewSet

from platform_core.api.compiled import Values, compiled
from platform_core.api.conditional import etag, expected_versions, is_unchanged
from platform_core.api.fields import MAX_ID
from platform_core.api.json import FORM_PARSERS
from platform_core.api.pages import NEWEST_FIRST, Listing, Ordering, page
from platform_core.api.plain import PlainView
from platform_core.api.queries import PageQuery, Query, read_query
from platform_core.api.reading import Reader, reader_of
from platform_core.api.validation import validated
from platform_core.auth.access import owner_of
from platform_core.errors import NotFound

ID = "[0-9]{1,19}"


_NOT_FOUND_BY = ("limit", "cursor", "ordering")


class ResourceViewSet(PlainView, GenericViewSet[Any]):
    """``serializer_class`` is the wire's shape, ``query_class`` what the list takes."""

    query_class: ClassVar[type[Query]] = PageQuery
    owner_field: ClassVar[str] = ""
    """The column that says whose a row is, where the rules let people reach their own rows alone."""
    lookup_value_regex = ID

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        for name, value in kwargs.items():
            if not (value.isascii() and value.isdigit() and int(value) <= MAX_ID):
                raise NotFound()
            self.kwargs[name] = int(value)

    def get_parsers(self) -> list[BaseParser]:
        """JSON; and forms, when a browser sends them."""
        parsers = super().get_parsers()
        request = getattr(self, "request", None)
        if request is not None and "text/html" in request.META.get("HTTP_ACCEPT", ""):
            parsers += [parser() for parser in FORM_PARSERS]
        return parsers

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """What is allowed, in the header; the rest is in `/api/schema`. DRF's answer would look for the row first."""
        return Response(status=204)

    @classmethod
    def reader(cls) -> Reader:
        return reader_of(cast("type[Serializer[Any]]", cls.serializer_class))

    @classmethod
    def base(cls) -> QuerySet[Any]:
        """All rows that the API knows of."""
        return cast("QuerySet[Any]", cls.queryset)

    def narrowing(self) -> dict[str, Any]:
        """What a row must have for the caller to reach it."""
        owner = owner_of(self.request)
        return {} if owner is None else {self.owner_field: owner}

    def query(self, request: Request) -> dict[str, Any]:
        return read_query(request, self.query_class)

    def body(self, request: Request, serializer_class: type[Serializer[Any]] | None = None, **kwargs: Any) -> Any:
        """The validated body. Raises rest_framework's ValidationError."""
        chosen = serializer_class or cast("type[Serializer[Any]]", self.get_serializer_class())
        return validated(chosen, request.data, **kwargs)

    def page(
        self, find: Callable[..., QuerySet[Any]], query: dict[str, Any], ordering: Ordering = NEWEST_FIRST, **also: Any
    ) -> Response:
        """A page of what ``find`` finds: ``query`` is a valid one of ``query_class``, ``also`` what else it is told."""
        arguments = {name: value for name, value in query.items() if name not in _NOT_FOUND_BY} | also
        listing = Listing(self.base().model, self.reader(), find, arguments, self.narrowing())
        return Response(page(self.request, listing, limit=query["limit"], cursor=query["cursor"], ordering=ordering))

    def one(self, request: Request, **values: Any) -> Response:
        """The row of ``queryset`` with these values, if the caller may reach it. As `selected` answers."""
        values |= self.narrowing() if self.owner_field else {}
        return self.selected(request, compiled(type(self), self._one, values).row(values))

    def selected(self, request: Request, found: tuple[Any, ...] | None) -> Response:
        """The row that the reader has selected, with the ETag of the one column behind it, or 304.

        Raises NotFound for None.
        """
        if found is None:
            raise NotFound()
        reader = self.reader()
        (version,) = reader.rest(found)
        headers = {"ETag": etag(version)}
        if is_unchanged(request, headers["ETag"]):
            return Response(status=304, headers=headers)
        return Response(reader.read(found), headers=headers)

    def _one(self, values: Values) -> QuerySet[Any, Any]:
        return self.reader().select(self.base().filter(**values), "version")

    def answer(self, instance: Model, status: int = 200, **related: Iterable[Model]) -> Response:
        """The instance as it now is, with its ``related`` rows; with 201 its Location, too."""
        headers = {"ETag": etag(instance.version)}  # type: ignore[attr-defined]
        if status == 201:
            headers["Location"] = f"{self.request.path.rstrip('/')}/{instance.pk}"
        return Response(self.reader().instance(instance, **related), status=status, headers=headers)

    def expected(self, request: Request) -> list[int] | None:
        return expected_versions(request)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(response, Response) and response.data is None and response.status_code == 304:
            response.content_type = "application/json"
        return super().finalize_response(request, response, *args, **kwargs)
