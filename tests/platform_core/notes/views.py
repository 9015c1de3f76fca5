from django.db import transaction
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from platform_core.api.conditional import expected_versions
from platform_core.api.fields import IdField, OptionalStringField, StringField
from platform_core.api.idempotency import idempotent
from platform_core.api.queries import Query, TextField
from platform_core.api.query_cache import declared
from platform_core.api.row_readers import Serializer
from platform_core.api.strict_bodies import refuse_members
from platform_core.api.views import ResourceViewSet
from platform_core.events.log import NewEvent, append
from platform_core.models import write
from tests.platform_core.notes.models import Note


class NoteSerializer(Serializer):
    id = IdField(read_only=True)
    name = StringField(max_length=200)
    label = StringField(max_length=254)
    text = OptionalStringField(max_length=500, one_line=False)
    createdAt = serializers.DateTimeField(source="created_at", read_only=True)
    updatedAt = serializers.DateTimeField(source="updated_at", read_only=True)


class NoteQuery(Query):
    name = TextField(required=False, max_length=200)


def with_event(note: Note, what: str) -> Note:
    append(NewEvent(f"note.{what}", note.pk, {"version": note.version}))
    return note


class NoteViewSet(ListModelMixin, ResourceViewSet):
    """Each write is one transaction, with its event, as the services' use cases are."""

    queryset = declared(Note)
    serializer_class = NoteSerializer
    query_class = NoteQuery

    def retrieve(self, request: Request, pk: int) -> Response:
        return self.shown(self.get_object())

    @idempotent
    def create(self, request: Request) -> Response:
        values = self.validated()
        with transaction.atomic():
            note = with_event(Note.objects.create(**values), "created")
        return self.answer(note, status=201)

    def update(self, request: Request, pk: int, partial: bool = False) -> Response:
        values = self.validated(self.get_object(), partial=partial)
        with transaction.atomic():
            write(Note.objects.filter(pk=self.kwargs["pk"]), expected_versions(request), **values)
            note = with_event(Note.objects.get(pk=self.kwargs["pk"]), "updated")
        return self.answer(note)

    def partial_update(self, request: Request, pk: int) -> Response:
        return self.update(request, pk, partial=True)

    @action(detail=True, methods=["post"])
    @idempotent
    def touch(self, request: Request, pk: int) -> Response:
        note = self.get_object()
        refuse_members(request)
        write(Note.objects.filter(pk=note.pk), None)
        return Response(status=204)

    def destroy(self, request: Request, pk: int) -> Response:
        with transaction.atomic():
            write(Note.objects.filter(pk=self.kwargs["pk"]), expected_versions(request))
            with_event(Note.objects.get(pk=self.kwargs["pk"]), "deleted").delete()
        return Response(status=204)
