"""The routes of the service that is served."""

from django.conf import settings
from django.http import JsonResponse
from django.urls import include, path
from rest_framework.routers import DefaultRouter

from benchmarks.contenders.stock import analytics, notifications, orders, products, users


def live(request):
    return JsonResponse({"status": "ok"})


def resource(name, viewset):
    router = DefaultRouter(trailing_slash=False)
    router.register(name, viewset, basename=name)
    return path("api/", include(router.urls))


ROUTES = {
    "user": [resource("users", users.UserViewSet), path("api/stats", users.stats)],
    "product": [
        resource("products", products.ProductViewSet),
        path("api/stock-reservations/<int:order_id>", products.stock_reservation),
        path("api/stats", products.stats),
    ],
    "order": [resource("orders", orders.OrderViewSet), path("api/stats", orders.stats)],
    "notification": [path("api/stats", notifications.stats)],
    "analytics": [path("api/analytics/summary", analytics.summary)],
}

urlpatterns = [path("health/live", live), *ROUTES[settings.SERVICE]]
