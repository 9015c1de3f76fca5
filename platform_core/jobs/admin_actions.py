"""How actions of the admin become jobs."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.actions import delete_selected
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from platform_core.http.errors import PlatformError
from platform_core.jobs import kinds, queue


def ask(request: HttpRequest, kind_name: str, rows: QuerySet[Any], **parameters: Any) -> HttpResponse | None:
    """Stores the selection of an action as the draft of a job, and leads to the page that asks for confirmation.

    The caller has checked the permission of the action. ``parameters`` are kept with the job. Returns None, with a
    message, if no job can be made.
    """
    kind = kinds.find(kind_name)
    assert kind is not None
    try:
        job = queue.draft(kind, request.user, rows, parameters=parameters)
    except PlatformError as error:
        messages.error(request, error.detail)
        return None
    return HttpResponseRedirect(reverse("admin:jobs_job_change", args=[job.pk]))


def delete_many(
    page: Any, request: HttpRequest, rows: QuerySet[Any], kind_name: str, **parameters: Any
) -> HttpResponse | None:
    """The action "delete selected" of an admin ``page``: a single row as Django does it, more than one by a job."""
    if len(rows.order_by("pk")[:2]) > 1:
        return ask(request, kind_name, rows, **parameters)
    answer: HttpResponse | None = delete_selected(page, request, rows)
    return answer
