"""The API of webhooks."""

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from notification_svc.webhooks import services
from notification_svc.webhooks.models import WebhookEndpoint
from notification_svc.webhooks.serializers import (
    DeliveryQuery,
    WebhookDeliverySerializer,
    WebhookSerializer,
    WebhookWithSecretSerializer,
)
from platform_core.api import ResourceViewSet, expected_versions, idempotent, refuse_members, takes_key
from platform_core.http import NotFound
from platform_core.outbox import OutboxMessage


class WebhookViewSet(ListModelMixin, ResourceViewSet):
    """Addresses to which events are delivered."""

    queryset = WebhookEndpoint.objects.all()
    serializer_class = WebhookSerializer
    _new_secret = ""
    """The secret that this request has made. It is added to the answer after the answer was stored for its key."""

    def list(self, request: Request) -> Response:
        """Webhooks, newest first."""
        return super().list(request)

    def retrieve(self, request: Request, pk: int) -> Response:
        """One webhook, without its secret."""
        return self.shown(self.get_object())

    @extend_schema(responses={201: WebhookWithSecretSerializer})
    @takes_key
    def create(self, request: Request) -> Response:
        """Register a webhook for the events from now on. 409 `too_many_webhooks`.

        The answer has the secret, once: a repetition with the same Idempotency-Key gets the answer without it.
        """
        return self._with_secret(self._create(request))

    @idempotent
    def _create(self, request: Request) -> Response:
        endpoint, self._new_secret = services.create_endpoint(**self.validated())
        return self.answer(endpoint, status=201)

    def partial_update(self, request: Request, pk: int) -> Response:
        """Change a webhook. What waits for one that is disabled becomes `dead`, and can be retried."""
        endpoint = self.get_object()
        changes = self.validated(endpoint, partial=True)
        return self.answer(services.update_endpoint(endpoint.pk, expected_versions(request), **changes))

    def destroy(self, request: Request, pk: int) -> Response:
        """Delete a webhook, with what has not been delivered to it."""
        services.delete_endpoint(self.get_object().pk, expected_versions(request))
        return Response(status=204)

    @extend_schema(operation_id="replaceWebhookSecret", request=None, responses={200: WebhookWithSecretSerializer})
    @takes_key
    def replace_secret(self, request: Request, pk: int) -> Response:
        """Make a new secret, and answer it once. The old one is not used from now on, also not for earlier events."""
        return self._with_secret(self._replace_secret(request, pk))

    @idempotent
    def _replace_secret(self, request: Request, pk: int) -> Response:
        refuse_members(request)
        endpoint, self._new_secret = services.replace_secret(self.get_object().pk)
        return self.answer(endpoint)

    def _with_secret(self, response: Response) -> Response:
        if self._new_secret:
            response.data = {**response.data, "secret": self._new_secret}
        return response


class WebhookDeliveryViewSet(ListModelMixin, ResourceViewSet):
    """The deliveries to a webhook."""

    queryset = OutboxMessage.objects.all()
    serializer_class = WebhookDeliverySerializer
    query_class = DeliveryQuery

    def get_queryset(self) -> QuerySet[OutboxMessage]:
        """The messages of the webhook in the path."""
        super().get_queryset()
        return services.deliveries_of(self.kwargs["webhook_id"])

    @extend_schema(operation_id="listWebhookDeliveries")
    def list(self, request: Request, webhook_id: int) -> Response:
        """Deliveries, newest first. Those that were delivered long ago are deleted (`OUTBOX_RETENTION_DAYS`)."""
        response = super().list(request)  # refuses bad parameters
        get_object_or_404(WebhookEndpoint, pk=webhook_id)
        return response

    @extend_schema(operation_id="retryWebhookDelivery", request=None, responses={200: WebhookDeliverySerializer})
    @idempotent
    def retry(self, request: Request, webhook_id: int, pk: int) -> Response:
        """Deliver again what was given up or delivered, and at once what waits. 409 `webhook_disabled`.

        The `webhook-id` stays the same, so that a receiver can recognise what it has.
        """
        refuse_members(request)
        try:
            delivery: Any = services.retry(webhook_id, pk)
        except OutboxMessage.DoesNotExist:
            raise NotFound() from None
        return Response(self.get_serializer(delivery).data)
