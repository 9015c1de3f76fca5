"""user-service."""

from django.db.models import Count, Q
from django.utils.timezone import now
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.viewsets import ReadOnlyModelViewSet

from benchmarks.contenders.stock.models import User
from benchmarks.contenders.stock.serializers import UserSerializer


class UserViewSet(ReadOnlyModelViewSet):
    queryset = User.objects.all()
    serializer_class = UserSerializer
    lookup_value_regex = "[0-9]{1,18}"


@api_view()
def stats(request):
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    return Response(User.objects.aggregate(total=Count("id"), newToday=Count("id", filter=Q(created_at__gte=today))))
