from django.urls import path

from analytics_svc.dashboard import Dashboard
from analytics_svc.views import AnalyticsViewSet
from platform_core.api import Router

router = Router()
router.register("api/analytics", AnalyticsViewSet, basename="analytics")

urlpatterns = [path("", Dashboard.as_view({"get": "show"}), name="dashboard"), *router.urls]
