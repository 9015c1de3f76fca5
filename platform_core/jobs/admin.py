"""Jobs in the admin: a page for each that asks, shows the progress and the refused rows, and can stop it."""

import csv
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import NoReverseMatch, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST
from unfold.decorators import display

from platform_core.admin import ReadOnlyAdmin
from platform_core.api.csv_cells import guarded
from platform_core.auth.staff import identity
from platform_core.jobs import kinds, queue
from platform_core.jobs.files import has_file, pieces
from platform_core.jobs.kinds import Kind
from platform_core.jobs.models import Job, JobChunk, JobItem

SHOWN_REFUSED = 50
"""The most refused rows on a page. All of them are in the CSV file."""
_PAGE = 1000
_COLOURS = {
    Job.State.DRAFT.value: "info",
    Job.State.WAITING.value: "info",
    Job.State.RUNNING.value: "primary",
    Job.State.STOPPING.value: "warning",
    Job.State.STOPPED.value: "warning",
    Job.State.DONE.value: "success",
    Job.State.FAILED.value: "danger",
}
_FILES = {JobChunk.Part.REJECTS.value: "rejects", JobChunk.Part.RESULT.value: "result"}


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Whoever may start jobs of a kind sees all jobs of this kind, and may stop them."""

    list_display = ("id", "title", "shown_state", "progress", "who", "created_at", "finished_at")
    list_filter = ("state", "created_at")
    list_select_related = ("user",)
    search_fields = ("id", "request_id")
    search_help_text = "id or request id"
    sortable_by = ("id",)
    change_form_template = "jobs/job.html"
    fields = ("state",)

    def get_urls(self) -> list[Any]:
        """The admin's pages, and those of one job."""
        own = [
            ("confirm", require_POST(self.confirm)),
            ("discard", require_POST(self.discard)),
            ("stop", require_POST(self.stop)),
            ("refused.csv", self.refused),
            *((f"{part}/download", self._download(part)) for part in _FILES),
        ]
        return [*(self._url(name, view) for name, view in own), *super().get_urls()]

    def _url(self, name: str, view: Any) -> Any:
        label = name.partition("/")[0].partition(".")[0]
        return path(f"<int:pk>/{name}", self.admin_site.admin_view(view), name=f"jobs_job_{label}")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Whether the user may start jobs of this kind; without a job, of any kind."""
        found = kinds.allowed(request.user)
        return bool(request.user.is_superuser or (found if obj is None else obj.kind in found))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        rows: QuerySet[Job] = super().get_queryset(request)
        return rows if request.user.is_superuser else rows.filter(kind__in=kinds.allowed(request.user))

    @display(description="job")  # type: ignore[untyped-decorator]
    def title(self, job: Job) -> str:
        return _title(job)

    @display(description="state", label=_COLOURS)  # type: ignore[untyped-decorator]
    def shown_state(self, job: Job) -> str:
        return job.state

    @display(description="progress")  # type: ignore[untyped-decorator]
    def progress(self, job: Job) -> str:
        return f"{job.done:,}" if job.total is None else f"{job.done:,} of {job.total:,}"

    @display(description="started by")  # type: ignore[untyped-decorator]
    def who(self, job: Job) -> str:
        return _who(job)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a job: its question while it is a draft, then its progress and its refused rows."""
        job = self.get_object(request, object_id)
        context = {} if job is None else self._context(request, job)
        page: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **context})
        return page

    def _context(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        kind = kinds.find(job.kind)
        refused = list(_refused(job)[: SHOWN_REFUSED + 1])
        files = [part for part in _FILES if _is_ready(job, part)]
        return {
            "job": job,
            "kind": kind,
            "title": _title(job),
            "who": _who(job),
            "colour": _COLOURS[job.state],
            "is_own": job.by == str(identity(request.user)),
            "refused_rows": [(_linked(kind, item), item.reason) for item in refused[:SHOWN_REFUSED]],
            "has_more_refused": len(refused) > SHOWN_REFUSED,
            "retried": list(queue.waiting_items(job).filter(attempts__gt=0)[:10]),
            "has_upload": job.state == Job.State.DONE and has_file(job, JobChunk.Part.UPLOAD),
            "files": files,
            "is_erased": kind is not None and kind.only_reads and job.state == Job.State.DONE and not files,
            "time_zone": settings.SHOP_TIME_ZONE,
            "show_save": False,
            "show_close": False,
        }

    def confirm(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Begin a draft. Only who has made it may, because the job is recorded under that name."""
        job = self._permitted(request, pk)
        if job.by != str(identity(request.user)) or not job.question:
            raise PermissionDenied  # without a question, its file is still arriving
        if not queue.confirm(job):
            messages.warning(request, "It was confirmed already.")
        return _to_page(job)

    def discard(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Delete a draft."""
        job = self._permitted(request, pk)
        if not queue.discard(job):
            messages.warning(request, "It was confirmed already. You can stop it.")
            return _to_page(job)
        messages.info(request, f"Nothing was changed: {_title(job)} was not confirmed.")
        return HttpResponseRedirect(reverse("admin:jobs_job_changelist"))

    def stop(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Stop a job."""
        job = self._permitted(request, pk)
        if not queue.stop(job):
            messages.warning(request, "It had ended already, or is being stopped.")
        return _to_page(job)

    def refused(self, request: HttpRequest, pk: int) -> HttpResponse | StreamingHttpResponse:
        """All refused rows of a job as CSV, with their reasons."""
        job = self._permitted(request, pk)
        kind = kinds.find(job.kind)
        head = ("row" if kind is None else kind.row, "reason")
        return _attached(_csv_lines(job, head), f"job-{job.pk}-refused.csv")

    def _download(self, part: str) -> Callable[[HttpRequest, int], Any]:
        def download(request: HttpRequest, pk: int) -> Any:
            job = self._permitted(request, pk)
            if not _is_ready(job, part):
                messages.error(request, "The file has been erased. Files of a job are kept for a day.")
                return _to_page(job)
            name = job.parameters.get(f"{part}_name") or f"job-{job.pk}-{_FILES[part]}.csv"
            return _attached(pieces(job, part), name)

        return download

    def _permitted(self, request: HttpRequest, pk: int) -> Job:
        job: Job | None = self.get_object(request, str(pk))
        if job is None or not self.has_view_permission(request, job):
            raise PermissionDenied
        return job


def _is_ready(job: Job, part: str) -> bool:
    """Whether a file can be downloaded. The result of a job that did not end well is incomplete."""
    states = (Job.State.DONE,) if part == JobChunk.Part.RESULT else Job.FINISHED
    return job.state in states and has_file(job, part)


def _title(job: Job) -> str:
    kind = kinds.find(job.kind)
    return job.kind if kind is None else kind.title


def _who(job: Job) -> str:
    """The name of who started it, as this service knows it today, and the identity."""
    name = "" if job.user is None else job.user.get_full_name() or job.user.email
    return f"{name} ({job.by})" if name else job.by


def _refused(job: Job) -> QuerySet[JobItem]:
    return JobItem.objects.filter(job=job, state=JobItem.State.REFUSED).order_by("id")


def _linked(kind: Kind | None, item: JobItem) -> SafeString | str:
    text = f"{'row' if kind is None else kind.row} {item.key}"
    if kind is None or not kind.row_page:
        return text
    try:
        return format_html('<a href="{}">{}</a>', reverse(kind.row_page, args=[item.key]), text)
    except NoReverseMatch:
        return text


def _csv_lines(job: Job, head: tuple[str, str]) -> Iterator[str]:
    class Echo:
        def write(self, line: str) -> str:
            return line

    writer = csv.writer(Echo())
    yield writer.writerow(head)
    last = 0
    while page := list(_refused(job).filter(pk__gt=last)[:_PAGE]):
        yield "".join(writer.writerow((item.key, guarded(item.reason))) for item in page)
        last = page[-1].pk


def _attached(content: Iterator[Any], name: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(content, content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _to_page(job: Job) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:jobs_job_change", args=[job.pk]))
