"""The API of notification-service."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from notification_svc import services
from notification_svc.models import Notification
from notification_svc.serializers import NotificationQuery, NotificationSerializer, OwnNotificationSerializer
from platform_core.api import Claim, ResourceViewSet, declared, replayed, takes_key
from platform_core.auth import Kind, caller_of, owner_of, sends_mail
from platform_core.conf import reached
from platform_core.http import InvalidInput
from platform_core.topology import ANALYTICS


class NotificationViewSet(ListModelMixin, ResourceViewSet):
    """Messages to customers."""

    queryset = declared(Notification)
    serializer_class = NotificationSerializer
    query_class = NotificationQuery
    owner_field = "user_id"

    def get_queryset(self) -> QuerySet[Notification]:
        """Services see the notifications that they sent themselves; analytics-service sees all."""
        notifications = super().get_queryset()
        if "user_id" in self.kwargs:
            notifications = notifications.filter(user_id=self.kwargs["user_id"])
        caller = caller_of(self.request)
        is_sender = caller.kind is Kind.SERVICE and caller.subject != ANALYTICS.name
        return notifications.filter(caller=caller.caller) if is_sender else notifications

    def get_serializer_class(self) -> type[NotificationSerializer]:
        """Customers are not told the errors of delivery as the staff are."""
        is_customer = owner_of(self.request) is not None
        return OwnNotificationSerializer if is_customer else NotificationSerializer

    def list(self, request: Request) -> Response:
        """Notifications, newest first. A service sees those that it sent itself; analytics-service sees all."""
        return super().list(request)

    @extend_schema(operation_id="listNotificationsByUser", responses={200: NotificationSerializer(many=True)})
    def by_user(self, request: Request, user_id: int) -> Response:
        """A user's notifications, newest first. An unknown user has none."""
        return super().list(request)

    @extend_schema(responses={201: NotificationSerializer})
    @action(detail=False, methods=["post"])
    @sends_mail
    @takes_key
    def send(self, request: Request) -> Response:
        """Queue a message. The Idempotency-Key is kept for ever: a repetition always gets the first answer."""
        claim = Claim.of(request)
        try:
            accepted = services.accept(self.validated(), claim)
        except (ValidationError, InvalidInput):
            earlier = services.accepted_earlier(claim) if claim else None
            if earlier is None:  # otherwise it was accepted before a rule that refuses it now
                raise
            accepted = earlier
        reached("notification.accepted")
        response = Response(self.get_serializer(accepted.notification).data, status=201)
        return replayed(response) if accepted.is_replay else response
