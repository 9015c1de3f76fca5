from django.urls import include, path

from analytics_svc.dashboard import Dashboard
from analytics_svc.views import AnalyticsViewSet
from platform_core.api.routers import Router

router = Router()
router.register("analytics", AnalyticsViewSet, basename="analytics")

urlpatterns = [path("", Dashboard.as_view(), name="dashboard"), path("api/", include(router.urls))]
