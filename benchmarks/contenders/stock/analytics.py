"""analytics-service."""

import requests
from django.conf import settings
from django.utils.timezone import now
from rest_framework.decorators import api_view
from rest_framework.response import Response

TIMEOUT = 5
session = requests.Session()


@api_view()
def summary(request):
    report = {"asOf": now(), "stale": []}
    for service, url in settings.URLS.items():
        try:
            reply = session.get(f"{url}/api/stats", timeout=TIMEOUT)
            reply.raise_for_status()
            report[f"{service}s"] = reply.json()
        except requests.RequestException:
            report["stale"].append(f"{service}-service")
            report[f"{service}s"] = {}
    return Response(report)
