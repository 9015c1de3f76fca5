from django.urls import re_path

from order_svc.views import OrderPages, OrderViewSet
from platform_core.api import ID, Router

router = Router()
router.register("api/orders", OrderViewSet, basename="order")

PAGE = rf"^orders/(?P<pk>{ID})/explain"
OPERATIONS = ("retry", "cancel", "reject", "ship", "deliver")

urlpatterns = [
    *router.urls,
    re_path(f"{PAGE}/?$", OrderPages.as_view({"get": "explain"}), name="order-page"),
    *(
        re_path(f"{PAGE}/{name}/?$", OrderPages.as_view({"post": name}), name=f"order-page-{name}")
        for name in OPERATIONS
    ),
]
