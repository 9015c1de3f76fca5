"""The base viewset. A viewset reads the request, calls one function of ``services.py``, and answers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from django.db.models import Model, QuerySet
from rest_framework.generics import get_object_or_404
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from platform_core.api.conditional import etag, is_unchanged
from platform_core.api.json import FORM_PARSERS, JSONParser, MergePatchParser
from platform_core.api.queries import Query, parse_query
from platform_core.api.query_cache import fetch_one, is_compared, is_declared
from platform_core.api.row_readers import Reader, reader_for, reader_of
from platform_core.api.strict_bodies import refuse_repeated
from platform_core.auth.access import owner_of
from platform_core.http.errors import NotFound
from platform_core.vocabulary import MAX_ID

ID = "[0-9]{1,19}"


class ResourceViewSet(GenericViewSet[Any]):
    """DRF's viewset with declared query parameters, ETags, and the restriction of customers to their own rows."""

    query_class: ClassVar[type[Query] | None] = Query
    """The parameters of the list."""
    owner_field: ClassVar[str] = ""
    """The column with the id of a row's owner. Needed if the rules allow customers only their own rows."""
    personal_members: ClassVar[Sequence[str]] = ()
    """Members of the answers with personal data. They are in no stored answer; a repetition shows them as they are."""
    conditional_actions: ClassVar[Sequence[str]] = ("retrieve",)
    """Actions that answer with `shown`, for the OpenAPI document."""
    lookup_value_regex = ID
    _reachable: QuerySet[Any] | None = None
    _scope: Mapping[str, Any] = {}
    """The lookup, with its value, that restricts the caller to their own rows."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Converts ids in the path to numbers. Raises NotFound for an id that no row can have."""
        super().initial(request, *args, **kwargs)
        other = (self.lookup_url_kwarg or self.lookup_field) if self.lookup_value_regex != ID else None
        for name, value in kwargs.items():
            if name != other and value.isascii() and value.isdigit():
                if int(value) > MAX_ID:
                    raise NotFound()
                self.kwargs[name] = int(value)

    def get_parsers(self) -> list[BaseParser]:
        """Where JSON is accepted, accepts also forms from browsers, and merge patches in a PATCH."""
        parsers = super().get_parsers()
        request = getattr(self, "request", None)
        if request is None or not any(isinstance(parser, JSONParser) for parser in parsers):
            return parsers
        parsers += [MergePatchParser()] if request.method == "PATCH" else []
        is_browser = "text/html" in request.META.get("HTTP_ACCEPT", "")
        return [*parsers, *(parser() for parser in FORM_PARSERS)] if is_browser else parsers

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """The answer of the metadata class; 204 if it is empty."""
        response: Response = super().options(request, *args, **kwargs)
        if response.data is None:
            response.status_code = 204
        return response

    @cached_property
    def query(self) -> Query:
        """The validated query string. Raises InvalidInput, ValidationError."""
        assert self.query_class is not None
        return parse_query(self.request, self.query_class, also_known=self._other_parameters())

    def _other_parameters(self) -> Iterator[str]:
        """The query parameters of the paginator and the filter backends."""
        others: list[Any] = [self.paginator, *(backend() for backend in self.filter_backends)]
        return (p["name"] for each in others if each for p in each.get_schema_operation_parameters(self))

    def get_queryset(self) -> QuerySet[Any]:
        """The rows that the caller may access."""
        queryset: QuerySet[Any] = super().get_queryset()
        owner = owner_of(self.request) if self.owner_field else None
        self._scope = {} if owner is None else {self.owner_field: owner}
        self._reachable = queryset.filter(**self._scope) if self._scope else queryset
        return self._reachable

    def get_reader(self, model: type[Model]) -> Reader | None:
        """The reader for `get_serializer`, if that is DRF's. None when only a serializer can represent the rows."""
        if getattr(self.get_serializer, "__func__", None) is GenericViewSet.get_serializer:
            return reader_of(self.get_serializer_class(), model)  # type: ignore[arg-type]
        return reader_for(self.get_serializer(), model)

    def declared_values(self, queryset: QuerySet[Any]) -> Mapping[str, Any] | None:
        """The comparisons, as lookups and values, that turn the class's declared queryset into ``queryset``.

        None if the class's queryset is not declared (`query_cache.declared`), if a hook has changed it, or if a filter
        is more than a comparison.
        """
        if not is_declared(self.queryset):  # type: ignore[arg-type]  # it may be a manager, which is never declared
            return None
        if queryset is self._reachable:
            return self._scope
        query = self.__dict__.get("query")
        if query is None or query.filtered is not queryset or query.unfiltered is not self._reachable:
            return None
        values: Mapping[str, Any] = query.comparisons
        if values is None or not all(is_compared(queryset.model, *item) for item in values.items()):
            return None
        return {**values, **self._scope} if values.keys().isdisjoint(self._scope) else None

    def get_object(self) -> Any:
        """The row that the path names, if the caller may access it. Raises NotFound, Http404, PermissionDenied."""
        queryset = self.filter_queryset(self.get_queryset())
        value = self.kwargs[self.lookup_url_kwarg or self.lookup_field]
        is_key = isinstance(value, int) and self.lookup_field in ("pk", queryset.model._meta.pk.name)
        values = self.declared_values(queryset) if is_key else None
        if values is not None:
            found: Any = fetch_one(self.queryset, pk=value, **values)  # type: ignore[arg-type]
            if found is None:
                raise NotFound()
        else:
            found = get_object_or_404(queryset, **{self.lookup_field: value})
        self.check_object_permissions(self.request, found)
        return found

    def offers(self, action: str, resource: Mapping[str, Any]) -> bool:
        """Whether a page of the API shows the button of an action. ``resource`` is what the page shows.

        Override it for actions that are possible in some states only.
        """
        return True

    def validated(self, instance: Any = None, **kwargs: Any) -> Any:
        """The body, validated by the view's serializer. Raises rest_framework's ValidationError, InvalidInput."""
        data = self.request.data
        refuse_repeated(self.request)
        serializer = self.get_serializer(instance, data=data, **kwargs)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def shown(self, instance: Model, tag: object = None) -> Response:
        """The resource, or 304 if the client has it. ``tag`` replaces the version as the source of the ETag."""
        headers = {"ETag": etag(instance.version if tag is None else tag)}  # type: ignore[attr-defined]
        if is_unchanged(self.request, headers["ETag"]):
            return Response(status=304, headers=headers)
        return Response(self.get_serializer(instance).data, headers=headers)

    def answer(self, instance: Model, status: int = 200, **related: Iterable[Model]) -> Response:
        """The resource after a change; with 201 its Location, too. ``related`` gives the rows of a nested list."""
        headers = {"ETag": etag(instance.version)}  # type: ignore[attr-defined]
        if status == 201:
            headers["Location"] = f"{self.request.path.rstrip('/')}/{instance.pk}"
        return Response(self.represented(instance, **related), status=status, headers=headers)

    def represented(self, instance: Model, **related: Iterable[Model]) -> Any:
        """The serializer's representation of an instance."""
        serializer = self.get_response_serializer(instance)
        reader = reader_for(serializer, type(instance)) if related else None
        return serializer.data if reader is None else reader.instance(instance, **related)

    def get_response_serializer(self, instance: Model) -> Any:
        """The serializer for answers. Override it if it differs from that of the body."""
        return self.get_serializer(instance)
