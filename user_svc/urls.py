from django.urls import include, path

from platform_core.api.routers import Router
from user_svc.views import UserViewSet

router = Router()
router.register("users", UserViewSet, basename="user")

urlpatterns = [path("api/", include(router.urls))]
