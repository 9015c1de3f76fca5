from django.urls import include, path

from order_svc.views import OrderViewSet
from platform_core.api.routers import Router

router = Router()
router.register("orders", OrderViewSet, basename="order")

urlpatterns = [path("api/", include(router.urls))]
