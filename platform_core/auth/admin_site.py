"""The admin's site: it signs in at user-service, and signs out of all five services at once."""

from typing import Any

from csp.decorators import csp_update
from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from unfold.sites import UnfoldAdminSite

from platform_core.auth import sign_on, staff


class PlatformAdminSite(UnfoldAdminSite):  # type: ignore[misc]
    """unfold's site with `platform_core.auth.sign_on`."""

    login_template = "sign_on/login.html"
    logout_template = "sign_on/signed_out.html"

    def get_urls(self) -> list[Any]:
        if settings.SIGN_ON_TICKETS:
            own = path("sign-on/", sign_on.issue, name="sign-on")
        else:
            own = path("signed-on/", sign_on.redeem, name="signed-on")
        return [own, *super().get_urls()]

    @method_decorator(never_cache)
    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Sends a browser on to user-service, or shows the form."""
        if request.method == "GET" and self.has_permission(request):
            return HttpResponseRedirect(sign_on.local_path(request.GET.get("next", "")))
        context = sign_on.form_context(request)
        if sign_on.is_wanted(request):
            if sign_on.user_service_answers():
                return sign_on.begin(request)
            context["is_down"] = True
        show: Any = super().login
        if "origin" in context:  # browsers apply the policy of a page with a form to the redirects after it
            show = csp_update({"form-action": [context["origin"]]})(show)
        response: HttpResponse = show(request, {**context, **(extra_context or {})})
        if request.method == "POST":
            staff.note_session(request)
        return response

    @method_decorator(never_cache)
    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Ends the session here and at user-service. The other services end theirs within a minute."""
        is_shared = staff.SESSION in request.session
        ended = request.method != "POST" or staff.end_session(request)
        response: HttpResponse = super().logout(request, {"is_shared": is_shared, **(extra_context or {})})
        if ended or response.status_code >= 400:
            return response
        return sign_on.page(
            request,
            "Signed out here alone",
            f"You are signed out of {settings.SERVICE_NAME}, but user-service does not answer. The other services keep "
            "you signed in, for at most 12 hours. Sign out there as well.",
            "/admin/",
            status=200,
        )
