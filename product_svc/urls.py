from django.urls import re_path

from platform_core.api import ID, Router
from product_svc.views import ProductBulkViewSet, ProductViewSet, ReservationViewSet, StockAdjustmentViewSet

router = Router()
router.register("api/products", ProductViewSet, basename="product")

at_once = ProductBulkViewSet.as_view({"post": "create"}, suffix="List")
adjustments = StockAdjustmentViewSet.as_view({"get": "list", "post": "create"}, suffix="List")
reservation = ReservationViewSet.as_view({"get": "retrieve", "put": "update", "delete": "destroy"}, suffix="Instance")
newest_reservation = ReservationViewSet.as_view({"get": "newest"}, suffix="Instance")

urlpatterns = [
    *router.urls,
    re_path(r"^api/products/bulk/?$", at_once, name="products-bulk"),
    re_path(rf"^api/products/(?P<product_id>{ID})/stock-adjustments/?$", adjustments, name="stock-adjustments"),
    re_path(r"^api/stock-reservations/newest/?$", newest_reservation, name="newest-stock-reservation"),
    re_path(rf"^api/stock-reservations/(?P<order_id>{ID})/?$", reservation, name="stock-reservation"),
]
