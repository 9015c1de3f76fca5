from django.conf import settings
from django.urls import re_path

from notification_svc.development.views import Mails, OneMail
from notification_svc.views import NotificationViewSet
from notification_svc.webhooks.views import WebhookDeliveryViewSet, WebhookViewSet
from platform_core.api import ID, Query, Router

router = Router()
router.register("api/notifications", NotificationViewSet, basename="notification")
router.register("api/webhooks", WebhookViewSet, basename="webhook")

by_user = NotificationViewSet.as_view({"get": "by_user"}, query_class=Query)
new_secret = WebhookViewSet.as_view({"post": "replace_secret"}, suffix="Instance")
deliveries = WebhookDeliveryViewSet.as_view({"get": "list"}, suffix="List")
retry = WebhookDeliveryViewSet.as_view({"post": "retry"}, suffix="Instance")

urlpatterns = [
    *router.urls,
    re_path(rf"^api/notifications/(?P<user_id>{ID})/?$", by_user, name="notifications-by-user"),
    re_path(rf"^api/webhooks/(?P<pk>{ID})/secret/?$", new_secret, name="webhook-secret"),
    re_path(rf"^api/webhooks/(?P<webhook_id>{ID})/deliveries/?$", deliveries, name="webhook-deliveries"),
    re_path(rf"^api/webhooks/(?P<webhook_id>{ID})/deliveries/(?P<pk>{ID})/retry/?$", retry, name="webhook-retry"),
]

if settings.PLATFORM_ENV == "development":
    urlpatterns += [
        re_path(r"^mails/?$", Mails.as_view({"get": "list"}), name="development-mails"),
        re_path(rf"^mails/(?P<pk>{ID})/?$", OneMail.as_view({"get": "retrieve"}), name="development-mail"),
        re_path(rf"^mails/(?P<pk>{ID})/html/?$", OneMail.as_view({"get": "html"}), name="development-mail-html"),
    ]
