from django.urls import path, re_path

from platform_core.api import ID, Router
from user_svc.views import AuthViewSet, KeySetView, StaffViewSet, UserViewSet

router = Router()
router.register("api/users", UserViewSet, basename="user")
router.register("api/auth", AuthViewSet, basename="auth")

staff = StaffViewSet.as_view({"post": "check"})
staff_account = StaffViewSet.as_view({"get": "show"})
staff_session = StaffViewSet.as_view({"get": "show_session", "delete": "end_session"})
key_set = KeySetView.as_view({"get": "show"})

urlpatterns = [
    *router.urls,
    path(".well-known/jwks.json", key_set, name="key-set"),
    re_path(r"^api/auth/staff/?$", staff, name="staff"),
    re_path(rf"^api/auth/staff/(?P<pk>{ID})/?$", staff_account, name="staff-account"),
    re_path(rf"^api/auth/staff/(?P<pk>{ID})/sessions/(?P<session>[0-9a-f-]+)/?$", staff_session, name="staff-session"),
]
