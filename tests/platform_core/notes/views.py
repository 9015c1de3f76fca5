from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from platform_core.api.fields import IdField, OptionalStringField, StringField
from platform_core.api.idempotency import idempotent
from platform_core.api.queries import PageQuery
from platform_core.api.views import ResourceViewSet
from platform_core.events.log import NewEvent, append
from platform_core.models import write
from tests.platform_core.notes.models import Note


class NoteSerializer(serializers.Serializer[Any]):
    id = IdField(read_only=True)
    name = StringField(max_length=200)
    label = StringField(max_length=254)
    text = OptionalStringField(max_length=500, one_line=False)
    createdAt = serializers.DateTimeField(source="created_at", read_only=True)
    updatedAt = serializers.DateTimeField(source="updated_at", read_only=True)


class NoteQuery(PageQuery):
    name = serializers.CharField(required=False, max_length=200)


def find_notes(*, name: str | None = None) -> QuerySet[Note]:
    return Note.objects.all() if name is None else Note.objects.filter(name=name)


def told(note: Note, what: str) -> Note:
    append(NewEvent(f"note.{what}", note.pk, {"version": note.version}))
    return note


class NoteViewSet(ResourceViewSet):
    """Each write is one transaction, with its event, as the services' use cases are."""

    queryset = Note.objects.all()
    serializer_class = NoteSerializer
    query_class = NoteQuery

    def list(self, request: Request) -> Response:
        return self.page(find_notes, self.query(request))

    def retrieve(self, request: Request, pk: int) -> Response:
        return self.one(request, pk=pk)

    @idempotent
    def create(self, request: Request) -> Response:
        values = self.body(request)
        with transaction.atomic():
            note = told(Note.objects.create(**values), "created")
        return self.answer(note, status=201)

    def update(self, request: Request, pk: int, partial: bool = False) -> Response:
        values = self.body(request, partial=partial)
        with transaction.atomic():
            write(Note.objects.filter(pk=pk), self.expected(request), **values)
            note = told(Note.objects.get(pk=pk), "updated")
        return self.answer(note)

    def partial_update(self, request: Request, pk: int) -> Response:
        return self.update(request, pk, partial=True)

    def destroy(self, request: Request, pk: int) -> Response:
        with transaction.atomic():
            write(Note.objects.filter(pk=pk), self.expected(request))
            told(Note.objects.get(pk=pk), "deleted").delete()
        return Response(status=204)
