"""notification-service."""

from django.db.models import Count
from rest_framework.decorators import api_view
from rest_framework.response import Response

from benchmarks.contenders.stock.models import Notification


@api_view()
def stats(request):
    by_status = dict(Notification.objects.values_list("status").annotate(Count("id")))
    settled = {status: by_status.get(status, 0) for status in ("sent", "failed")}
    return Response({"total": sum(settled.values()), "byStatus": settled})
