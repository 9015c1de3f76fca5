"""One sign-in for all admins: the two ends of the redirects between a service and user-service.

A browser without a session comes to `begin` at the asking service, which sends it to `issue` at user-service, which
sends it back to `redeem` with a ticket (`platform_core.auth.tickets`). As in CAS and OpenID Connect, the address to
return to is looked up by the service's name and never taken from the request.
"""

import logging
import re
import secrets
import time
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib import admin
from django.contrib.auth import login
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.module_loading import import_string
from django.views.decorators.http import require_GET

from platform_core.auth import staff
from platform_core.auth.keys import KeysError
from platform_core.auth.tickets import Ticket, read_ticket, state_of
from platform_core.auth.tokens import BadToken
from platform_core.clients.errors import PeerError
from platform_core.clients.health import get_health
from platform_core.clients.users import SessionEnded
from platform_core.http.errors import PlatformError
from platform_core.http.links import link, public_url
from platform_core.topology import BY_NAME, USER, Service

ISSUE = "/admin/sign-on/"
"""The path of `issue` at user-service."""
REDEEM = "/admin/signed-on/"
"""The path of `redeem` at every other service."""
LOCAL = "local"
"""With this parameter, the sign-in page shows the form for accounts of the service itself."""
_INDEX = "/admin/"
_LONGEST_PATH = 1500
"""So that a URL with it fits into a request line, although it is quoted twice."""
_COOKIE_SECONDS = 3600
"""How long a browser may stay at user-service's sign-in page."""
_MOST_STARTS = 10
_STARTS_SECONDS = 120
"""A browser that begins more often within this time is in a loop: it loses the session each time."""
_STATE = 64

log = logging.getLogger("platform.sign_on")


def local_path(path: str) -> str:
    """The path if it is one of this service, otherwise the admin's index. It may have a query."""
    is_local = (
        path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and path.isprintable()
        and len(path) <= _LONGEST_PATH
        and url_has_allowed_host_and_scheme(path, allowed_hosts=None)
    )
    return path if is_local else _INDEX


def is_wanted(request: HttpRequest) -> bool:
    """Whether this request for the sign-in page should go on to user-service, if that answers.

    In production, user-service's public address must be configured. Programs, which do not ask for HTML, get the form.
    """
    return (
        request.method == "GET"
        and "text/html" in request.headers.get("Accept", "")
        and LOCAL not in request.GET
        and is_configured(USER)
        and settings.SERVICE is not USER
    )


def is_configured(service: Service) -> bool:
    """Whether a browser's address for the service is known. Development uses the host of the request."""
    return bool(settings.PUBLIC_URLS[service.name]) or settings.PLATFORM_ENV == "development"


def user_service_answers() -> bool:
    """Whether user-service is healthy, within a second."""
    try:
        get_health(USER.name)
    except (PeerError, PlatformError):
        return False
    return True


def begin(request: HttpRequest) -> HttpResponse:
    """Sends the browser to user-service, with a secret of its own in a cookie."""
    following = local_path(request.GET.get("next", ""))
    secret, began, starts = _remembered(request)
    if starts >= _MOST_STARTS:
        log.warning("sign_on.loop", extra={"data": {"starts": starts}})
        return page(
            request,
            "The sign-in does not hold",
            f"Your browser has begun a sign-in {starts} times within two minutes, and lost the session each time. "
            "Perhaps something removes its cookies. Allow cookies for this site, and try again in two minutes.",
            following,
            status=400,
        )
    query = urlencode({"service": settings.SERVICE.name, "state": state_of(secret), "next": following})
    response = HttpResponseRedirect(link(USER, f"{ISSUE}?{query}", request))
    _remember(response, secret, began, starts + 1)
    return response


@require_GET
def issue(request: HttpRequest) -> HttpResponse:
    """Sends the browser back with a ticket. It signs in first if it has no live session here."""
    service, state = asking_service(request.GET), request.GET.get("state", "")
    following = local_path(request.GET.get("next", ""))
    if service is None or len(state) != _STATE or not state.isalnum() or not state.isascii():
        return page(
            request,
            "This link is not complete",
            "It does not say which service asks for the sign-in. Open the page that you wanted again.",
            _INDEX,
            status=400,
        )
    if not is_configured(service):
        return page(
            request,
            f"{service.name} has no public address",
            f"user-service does not know where browsers reach it: {service.public_url_variable} is not set.",
            _INDEX,
            status=503,
        )
    if admin.site.has_permission(request) and staff.account_of(request.user) is None:
        return page(
            request,
            f"You use a local account of {settings.SERVICE_NAME}",
            f"It opens this admin alone. To open {service.name}, sign out and sign in with your own account, or use a "
            "local account there.",
            _INDEX,
            status=403,
            local=_local_form(service, following, request),
        )
    account, session = staff.account_of(request.user), request.session.get(staff.SESSION, "")
    ticket = None
    if account is not None and session:
        ticket = import_string(settings.SIGN_ON_TICKETS)(account, session, service, state, following)
    if ticket is None:
        if account is not None:  # the session has ended within the last minute
            request.session.flush()
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    log.info("sign_on.issued", extra={"data": {"account": account, "for": service.name}})
    return HttpResponseRedirect(f"{public_url(service, request)}{REDEEM}?{urlencode({'ticket': ticket})}")


@require_GET
def redeem(request: HttpRequest) -> HttpResponse:
    """Signs the browser in with its ticket, and shows the page that it wanted.

    A ticket that cannot be used does nothing. A browser that is signed in, such as after a reload or in a second tab,
    goes on to its page. Any other one gets a page that says why, and no further redirect.
    """
    following = _INDEX
    try:
        ticket = read_ticket(request.GET.get("ticket", ""))
        following = local_path(ticket.following)
        _use(ticket, request)
        user = staff.signed_on(ticket.account, ticket.session)
    except BadToken as error:
        return _refused(request, error, following)
    except SessionEnded:
        return page(request, "You have signed out", "Your sign-in at user-service has ended.", following, status=403)
    except (PeerError, PlatformError, KeysError, OSError):
        text = "For the moment only local accounts can sign in here. Try again soon."
        return page(request, "user-service does not answer", text, following, status=503)
    if user is None:
        return page(
            request,
            "Your account has no role",
            "It opens no admin: it is a customer's account, or its roles were removed. An admin can give it one.",
            following,
            status=403,
        )
    login(request, user, backend=f"{staff.StaffBackend.__module__}.{staff.StaffBackend.__qualname__}")
    request.session[staff.SESSION] = ticket.session
    request.session.set_expiry(ticket.until)
    log.info("sign_on.redeemed", extra={"data": {"account": ticket.account}})
    response = HttpResponseRedirect(following)
    _, began, starts = _remembered(request)
    _remember(response, secrets.token_urlsafe(32), began, starts)
    return response


def _use(ticket: Ticket, request: HttpRequest) -> None:
    """Spends the ticket, if this browser asked for it. Raises BadToken."""
    if not ticket.is_for(_secret_in(request)):
        raise BadToken("Your browser did not ask for it, or it did not send the cookie of this service.")
    if not ticket.spend():
        raise BadToken("It was used before.")


def _refused(request: HttpRequest, error: BadToken, following: str) -> HttpResponse:
    log.warning("sign_on.refused", extra={"data": {"reason": str(error)}})
    if admin.site.has_permission(request):
        return HttpResponseRedirect(following)
    return page(
        request,
        "The sign-in was not completed",
        f"The ticket of user-service for {settings.SERVICE_NAME} was refused. {error} "
        "A ticket is valid for 30 seconds and for one use, and needs cookies.",
        following,
        status=400,
    )


def asking_service(query: QueryDict | dict[str, str]) -> Service | None:
    """The service that the query names; None if there is none, or if it is user-service itself."""
    service = BY_NAME.get(query.get("service") or "")
    return None if service is USER else service


def form_context(request: HttpRequest) -> dict[str, Any]:
    """Further variables of the page with the form, and the origin to which its redirects may lead."""
    following = request.POST.get("next") or request.GET.get("next", "")
    if settings.SERVICE is USER:
        service, path = _asked_by(following)
        if service is None or not is_configured(service):
            return {}
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(public_url(service, request)))
        return {"asking": service.name, "origin": origin, "local": _local_form(service, path, request)}
    if not is_configured(USER):
        return {}
    query = urlencode({"next": local_path(following)})
    return {"is_local": LOCAL in request.GET, "shared": f"{reverse('admin:login')}?{query}"}


def page(
    request: HttpRequest, title: str, text: str, following: str, *, status: int, local: str = ""
) -> TemplateResponse:
    """A page that says why there is no sign-in, with links to try again or to use a local account."""
    query = urlencode({"next": following})
    context = {
        **admin.site.each_context(request),
        "title": title,
        "text": text,
        "again": f"{reverse('admin:login')}?{query}",
        "local": local or ("" if settings.SERVICE is USER else f"{reverse('admin:login')}?{LOCAL}&{query}"),
        "has_index": admin.site.has_permission(request),
    }
    return TemplateResponse(request, "sign_on/page.html", context, status=status)


def _asked_by(following: str) -> tuple[Service | None, str]:
    """The service for which a browser signs in here, and the page that it wants there."""
    path, _, query = following.partition("?")
    wanted = QueryDict(query if path == ISSUE else "")
    return asking_service(wanted), local_path(wanted.get("next", ""))


def _local_form(service: Service, following: str, request: HttpRequest) -> str:
    return link(service, f"{reverse('admin:login')}?{LOCAL}&{urlencode({'next': following})}", request)


def cookie_name() -> str:
    """The cookie with the browser's secret. The prefix lets no other host of the domain set it (RFC 6265bis)."""
    name = f"{settings.SERVICE.stem}_sign_on"
    return f"__Host-{name}" if settings.SESSION_COOKIE_SECURE else name


def _secret_in(request: HttpRequest) -> str:
    return request.COOKIES.get(cookie_name(), "").partition(".")[0]


def _remembered(request: HttpRequest) -> tuple[str, int, int]:
    """The browser's secret, and when and how often it has begun a sign-in lately. New ones without a good cookie.

    Several tabs share the secret. It is replaced when one of them has signed in.
    """
    now = int(time.time())
    secret, *counts = request.COOKIES.get(cookie_name(), "").split(".")
    began, starts = (int(text) if re.fullmatch("[0-9]{1,10}", text) else 0 for text in (*counts, "", "")[:2])
    if len(secret) < 32:
        return secrets.token_urlsafe(32), now, 0
    return (secret, began, starts) if 0 <= now - began < _STARTS_SECONDS else (secret, now, 0)


def _remember(response: HttpResponse, secret: str, began: int, starts: int) -> None:
    response.set_cookie(
        cookie_name(),
        f"{secret}.{began}.{starts}",
        max_age=_COOKIE_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
