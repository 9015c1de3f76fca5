from django.urls import re_path

from platform_core.api import ID, Router
from product_svc.views import ProductBulkViewSet, ProductViewSet, ReservationViewSet, StockAdjustmentViewSet

router = Router()
router.register("api/products", ProductViewSet, basename="product")

at_once = ProductBulkViewSet.as_view({"post": "create"}, suffix="List")
adjustments = StockAdjustmentViewSet.as_view({"get": "list", "post": "create"}, suffix="List")
reservation = ReservationViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}, suffix="Instance")
reservations = ReservationViewSet.as_view({"get": "list"}, suffix="List")

urlpatterns = [
    *router.urls,
    re_path(r"^api/products/bulk/?$", at_once, name="products-bulk"),
    re_path(rf"^api/products/(?P<product_id>{ID})/stock-adjustments/?$", adjustments, name="stock-adjustments"),
    re_path(r"^api/stock-reservations/?$", reservations, name="stock-reservations"),
    re_path(rf"^api/stock-reservations/(?P<order_id>{ID})/?$", reservation, name="stock-reservation"),
]
