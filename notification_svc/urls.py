from django.urls import re_path

from notification_svc.views import NotificationViewSet
from platform_core.api import ID, Query, Router

router = Router()
router.register("api/notifications", NotificationViewSet, basename="notification")

by_user = NotificationViewSet.as_view({"get": "by_user"}, query_class=Query)

urlpatterns = [
    *router.urls,
    re_path(rf"^api/notifications/(?P<user_id>{ID})/?$", by_user, name="notifications-by-user"),
]
