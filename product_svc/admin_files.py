"""The page of the admin for the import and export of products."""

from pathlib import Path
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST

from platform_core.http import PlatformError
from platform_core.jobs import BadUpload, Job, confirm, create, discard, find, hand_over, receive
from product_svc.file_jobs import CHANGE, EXPORT, IMPORT, PREVIEW
from product_svc.files import COLUMNS, IMPORTED_ENDINGS, NO_PRESET, REJECTS, REQUIRED, XLSX, format_of
from product_svc.numbers import COMMA, POINT
from product_svc.presets import PRESETS


class UploadForm(forms.Form):
    """How a file is read. The file itself is stored while it arrives (`platform_core.jobs.receive`)."""

    decimal = forms.ChoiceField(
        choices=[("", "recognise; reject what reads two ways"), (POINT, "point: 1,234.56"), (COMMA, "comma: 1.234,56")],
        required=False,
        label="Decimal mark",
    )
    preset = forms.ChoiceField(
        choices=[("", "recognise"), *((name, PRESETS[name].system) for name in PRESETS), (NO_PRESET, "none")],
        required=False,
        label="Shop system that wrote it",
    )
    ignore_unknown = forms.BooleanField(required=False, label="Leave out columns that are unknown")
    allow_without_sku = forms.BooleanField(
        required=False, label="Import lines without a sku, although each import adds them again"
    )


class FilesOfProducts:
    """Adds a page with the import and export of files to the admin of products."""

    admin_site: Any
    opts: Any
    list_before_template = "product_svc/files_link.html"

    def get_urls(self) -> list[Any]:
        """The admin's pages, and those for files."""
        own = [
            path("files/", self.admin_site.admin_view(self.files_page), name="product_files"),
            path("files/upload/", self.admin_site.admin_view(self.upload), name="product_upload"),
            path("files/export/", self.admin_site.admin_view(require_POST(self.export)), name="product_export"),
            path("files/<int:pk>/import/", self.admin_site.admin_view(require_POST(self.run)), name="product_import"),
        ]
        return [*own, *super().get_urls()]  # type: ignore[misc]

    def files_page(self, request: HttpRequest) -> HttpResponse:
        """The forms."""
        if not (request.user.has_perm(CHANGE) or request.user.has_perm("product_svc.view_product")):
            raise PermissionDenied
        return self._page(request, UploadForm())

    # The CSRF token is part of the form, so it is checked after the file has been stored, in `_accepted`.
    @csrf_exempt
    def upload(self, request: HttpRequest) -> HttpResponse:
        """Stores the file and begins its preview."""
        if request.method != "POST":
            return HttpResponseRedirect(reverse("admin:product_files"))
        if not request.user.has_perm(CHANGE):
            raise PermissionDenied
        try:
            job = receive(request, _kind(PREVIEW))
        except (BadUpload, PlatformError) as error:
            messages.error(request, str(error))
            return self._page(request, UploadForm(), status=400)
        taken = False
        try:
            answer = self._accepted(request, job)
            taken = answer.status_code == 302
        finally:
            if not taken:
                discard(job)
        return answer

    @method_decorator(csrf_protect)
    def _accepted(self, request: HttpRequest, job: Job) -> HttpResponse:
        form = UploadForm(request.POST)
        kind = format_of(Path(job.parameters["name"]), IMPORTED_ENDINGS)
        if kind is None:
            endings = ", ".join(IMPORTED_ENDINGS)
            messages.error(request, f"{job.parameters['name']}: expected a file that ends in {endings}.")
            return self._page(request, form, status=400)
        if not form.is_valid():
            return self._page(request, form, status=400)
        job.parameters |= {"format": kind, **form.cleaned_data}
        job.save(update_fields=["parameters"])
        confirm(job)
        return _to_page(job)

    def run(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Begins the import of a file that was previewed."""
        if not request.user.has_perm(CHANGE):
            raise PermissionDenied
        job = Job.objects.filter(pk=pk, kind=PREVIEW, state=Job.State.DONE).first()
        if job is None:
            raise PermissionDenied
        suffix = REJECTS + (".csv" if job.parameters["format"] == XLSX else "")
        rejects = {"rejects_name": f"{Path(job.parameters['name']).name}{suffix}"}
        values = {"total": job.done, "parameters": {**job.parameters, **rejects}}
        try:
            next_job = hand_over(job, _kind(IMPORT), request.user, **values)
        except PlatformError as error:
            messages.error(request, str(error))
            return _to_page(job)
        if next_job is None:
            messages.warning(request, "The file was imported already, or has been erased. Upload it again.")
        return _to_page(next_job or job)

    def export(self, request: HttpRequest) -> HttpResponse:
        """Begins an export of all products."""
        if not request.user.has_perm("product_svc.view_product"):
            raise PermissionDenied
        try:
            job = create(_kind(EXPORT), request.user, parameters={"result_name": "products.csv"})
        except PlatformError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:product_files"))
        return _to_page(job)

    def _page(self, request: HttpRequest, form: UploadForm, status: int = 200) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Import and export",
            "opts": self.opts,
            "form": form,
            "endings": ",".join(IMPORTED_ENDINGS),
            "endings_text": " or ".join(", ".join(IMPORTED_ENDINGS).rsplit(", ", 1)),
            "columns": COLUMNS,
            "required": REQUIRED,
            "may_import": request.user.has_perm(CHANGE),
        }
        return TemplateResponse(request, "product_svc/files.html", context, status=status)


def _kind(name: str) -> Any:
    found = find(name)
    assert found is not None  # registered by the app
    return found


def _to_page(job: Job) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:jobs_job_change", args=[job.pk]))
