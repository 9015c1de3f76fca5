"""Django's middlewares, django-csp and django-cors-headers do as their documentation says.

The views here are as an engineer would add them to a service.
"""

import json
import os
import subprocess
import sys

import pytest
from csp.constants import NONCE, SELF
from csp.decorators import csp, csp_exempt, csp_replace, csp_update
from django.contrib import messages
from django.core import checks
from django.core.cache import close_caches
from django.db import close_old_connections
from django.http import HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.utils.cache import patch_vary_headers
from django.views.decorators.clickjacking import xframe_options_exempt, xframe_options_sameorigin

from platform_core import urls
from platform_core.conf.environment import ROOT
from platform_core.conf.settings import service_settings
from platform_core.db.connections import idle_receivers
from platform_core.topology import SERVICES
from tests.clients import Browser
from tests.suites import plain_environment

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500
CSP, REPORT_ONLY = "Content-Security-Policy", "Content-Security-Policy-Report-Only"
DATA = {"default-src": ["'none'"], "frame-ancestors": ["'none'"]}


def page(request):
    return HttpResponse("<p>page</p>")


def data(request):
    return JsonResponse({})


def with_nonce(request):
    return HttpResponse(f"<script nonce='{request.csp_nonce}'></script>")


def who(request):
    return JsonResponse({"user": str(request.user), "seen": request.session.get("seen", False)})


def remember(request):
    request.session["seen"] = True
    messages.info(request, "Seen.")
    return HttpResponse()


def with_token(request):
    return HttpResponse(get_token(request))


def shared(request):
    return HttpResponse(headers={"Cross-Origin-Resource-Policy": "cross-origin", "Permissions-Policy": "camera=(self)"})


def varying(request):
    response = HttpResponse()
    patch_vary_headers(response, ["Origin", "Accept"])
    return response


OTHERS = ["https://cdn.example.com"]
ADDED = csp_update({"img-src": OTHERS})
urlpatterns = [
    path("page", page),
    path("data", data),
    *(
        path(f"{view.__name__}/{name}", decorator(view))
        for view in (page, data)
        for name, decorator in {
            "csp-exempt": csp_exempt(),
            "csp-update": ADDED,
            "csp-replace": csp_replace({"default-src": OTHERS}),
            "csp": csp({"default-src": OTHERS}),
            "csp-report-only": csp_update({"img-src": OTHERS}, REPORT_ONLY=True),
            "xframe-exempt": xframe_options_exempt,
            "xframe-sameorigin": xframe_options_sameorigin,
        }.items()
    ),
    path("admin/plain", page),
    path("admin/updated", csp_update({"style-src": OTHERS[0], "img-src": OTHERS})(page)),
    path("admin/own", csp({"default-src": OTHERS})(page)),
    path("with-nonce", with_nonce),
    path("who", who),
    path("remember", remember),
    path("with-token", with_token),
    path("varying", varying),
    path("shared", shared),
    *urls.urlpatterns,
]


@pytest.fixture
def browser():
    return Browser(forges=True)


def policy(answer, header=CSP):
    return {name: sources for name, *sources in (part.split() for part in answer[header].split(";"))}


def test_they_are_djangos_own(settings):
    stock = [
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    assert [name for name in settings.MIDDLEWARE if name in stock] == stock


# Security headers


@pytest.mark.parametrize("url", ["/page", "/data"])
@pytest.mark.parametrize(
    "setting, value, header, expected",
    [
        ("SECURE_CONTENT_TYPE_NOSNIFF", False, "X-Content-Type-Options", None),
        ("SECURE_REFERRER_POLICY", "no-referrer", "Referrer-Policy", "no-referrer"),
        ("SECURE_REFERRER_POLICY", None, "Referrer-Policy", None),
        ("SECURE_CROSS_ORIGIN_OPENER_POLICY", "unsafe-none", "Cross-Origin-Opener-Policy", "unsafe-none"),
        ("X_FRAME_OPTIONS", "SAMEORIGIN", "X-Frame-Options", "SAMEORIGIN"),
    ],
)
def test_a_setting_of_a_security_header_is_honoured(client, settings, url, setting, value, header, expected):
    setattr(settings, setting, value)
    assert client.get(url).headers.get(header) == expected


@pytest.mark.parametrize("url", ["/page", "/data"])
def test_the_decorators_of_x_frame_options_are_honoured(client, url):
    assert client.get(url)["X-Frame-Options"] == "DENY"
    assert "X-Frame-Options" not in client.get(f"{url}/xframe-exempt")
    assert client.get(f"{url}/xframe-sameorigin")["X-Frame-Options"] == "SAMEORIGIN"


# Content-Security-Policy


@pytest.mark.parametrize("url", ["/page", "/data"])
def test_the_decorators_of_django_csp_are_honoured(client, url):
    usual = policy(client.get(url))
    assert CSP not in client.get(f"{url}/csp-exempt")
    assert policy(client.get(f"{url}/csp-update")) == {**usual, "img-src": [*usual.get("img-src", []), *OTHERS]}
    assert policy(client.get(f"{url}/csp-replace")) == {**usual, "default-src": OTHERS}
    assert policy(client.get(f"{url}/csp")) == {"default-src": OTHERS}


def test_the_setting_is_the_policy_of_pages(client, settings):
    settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": {"default-src": [SELF]}, "EXCLUDE_URL_PREFIXES": ["/page/"]}
    assert policy(client.get("/page")) == {"default-src": ["'self'"]}
    assert CSP not in client.get("/page/xframe-exempt")
    assert policy(client.get("/data")) == DATA


def test_excluded_prefixes_hold_for_answers_that_are_not_pages(client, settings):
    settings.CONTENT_SECURITY_POLICY = {**settings.CONTENT_SECURITY_POLICY, "EXCLUDE_URL_PREFIXES": ["/data"]}
    assert CSP not in client.get("/data")


@pytest.mark.parametrize("url", ["/page", "/data"])
def test_without_the_setting_there_is_no_policy(client, settings, url):
    settings.CONTENT_SECURITY_POLICY = {}
    assert CSP not in client.get(url)


@pytest.mark.parametrize("url", ["/page", "/data"])
def test_a_policy_can_be_tried_out(client, settings, url):
    settings.CONTENT_SECURITY_POLICY_REPORT_ONLY = {"DIRECTIVES": {"default-src": [SELF], "report-uri": "/r"}}
    assert policy(client.get(url), REPORT_ONLY) == {"default-src": ["'self'"], "report-uri": ["/r"]}
    assert policy(client.get(f"{url}/csp-report-only"), REPORT_ONLY)["img-src"] == OTHERS
    assert CSP in client.get(url)


def test_a_nonce_of_the_request_is_in_the_policy(client, settings):
    settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": {"script-src": [SELF, NONCE]}}
    answer = client.get("/with-nonce")
    nonce = answer.content.decode().split("'")[1]
    assert f"'nonce-{nonce}'" in policy(answer)["script-src"]


def test_the_admin_may_have_inline_styles_besides_what_a_view_adds(client):
    usual, plain = policy(client.get("/page")), policy(client.get("/admin/plain"))
    assert plain == {**usual, "style-src": ["'self'", "'unsafe-inline'"]}
    updated = policy(client.get("/admin/updated"))
    assert set(updated["style-src"]) == {"'self'", "'unsafe-inline'", *OTHERS}
    assert updated["img-src"] == [*usual["img-src"], *OTHERS]
    assert policy(client.get("/admin/own")) == {"default-src": OTHERS}


def test_a_view_can_set_what_has_no_setting(client):
    answer = client.get("/shared")
    assert answer["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer["Permissions-Policy"] == "camera=(self)"


# Sessions, accounts, messages, CSRF


def test_a_view_that_reads_session_and_user_works_without_a_cookie(browser):
    answer = browser.get("/who")
    assert answer.json() == {"user": "AnonymousUser", "seen": False}
    assert "Cookie" in answer["Vary"]


def test_a_session_and_a_message_can_begin_without_a_cookie(browser, settings):
    answer = browser.get("/remember")
    assert answer.cookies[settings.SESSION_COOKIE_NAME].value
    assert browser.get("/who").json()["seen"] is True
    assert "Seen." in browser.session["_messages"]


def test_a_response_without_use_of_the_session_does_not_vary_by_cookie(browser):
    answer = browser.get("/data")
    assert "Cookie" not in answer["Vary"]
    assert not answer.cookies


def test_a_page_gives_its_csrf_token_to_a_browser_without_cookies(browser, settings):
    assert browser.get("/with-token").cookies[settings.CSRF_COOKIE_NAME].value
    assert Browser(forges=True).get("/api/docs?script=").cookies[settings.CSRF_COOKIE_NAME].value


def test_a_plain_view_refuses_a_post_without_a_csrf_cookie():
    strict = Browser(forges=True)
    assert strict.post("/page").status_code == 403
    token = strict.get("/with-token").content.decode()
    assert strict.post("/page", {"csrfmiddlewaretoken": token}).status_code == 200


# CORS


def test_an_answer_names_origin_in_vary_once(browser):
    assert browser.get("/data")["Vary"] == "origin"
    assert browser.get("/varying")["Vary"] == "Origin, Accept"
    assert browser.get("/varying", headers={"Origin": "https://a.example"})["Vary"] == "Origin, Accept"


def test_the_urls_that_others_may_call_are_a_setting(browser, settings):
    settings.CORS_URLS_REGEX = r"^/api/"
    headers = {"Origin": "http://localhost:5173"}
    assert browser.get("/api/orders", headers=headers)["Access-Control-Allow-Origin"] == "http://localhost:5173"
    assert "Access-Control-Allow-Origin" not in browser.get("/data", headers=headers)


# Production: HTTPS, and Django's checks


@pytest.fixture
def production_settings(settings):
    """The settings for HTTPS and cookies, as in production."""
    environment = {
        "PLATFORM_ENV": "production",
        "SECRET_KEY": "k9" + "0123456789abcdef" * 4,
        "ALLOWED_HOSTS": "testserver",
    }
    made = service_settings("order_svc", environment=environment)
    for name, value in made.items():
        if name.startswith(("SECURE_", "CSRF_", "SESSION_", "X_FRAME_")) or name in (
            "ALLOWED_HOSTS",
            "SECRET_KEY",
            "DEBUG",
        ):
            setattr(settings, name, value)
    return settings


@pytest.mark.parametrize("package", [service.package for service in SERVICES])
def test_no_check_is_silenced(package):
    assert not service_settings(package, environment={}).get("SILENCED_SYSTEM_CHECKS")


def test_djangos_deployment_checks_find_nothing_in_production(production_settings):
    assert production_settings.SILENCED_SYSTEM_CHECKS == []
    assert checks.run_checks(tags=[checks.Tags.security], include_deployment_checks=True) == []


@pytest.mark.parametrize("url", ["/", "/admin/", "/admin/login/?next=/admin/", "/orders/1/explain", "/page", "/apia"])
def test_pages_are_redirected_to_https(client, production_settings, url):
    answer = client.get(url)
    assert (answer.status_code, answer["Location"]) == (301, f"https://testserver{url}")
    assert client.get(url, headers={"X-Forwarded-Proto": "https"}).status_code != 301


@pytest.mark.parametrize(
    "url",
    [
        *("/api/orders", "/api/orders/1", "/api/events", "/health", "/health/live", "/health/ready", "/metrics"),
        "/.well-known/jwks.json",
    ],
)
def test_peers_and_monitoring_are_answered_over_plain_http(client, production_settings, url):
    assert client.get(url).status_code in (200, 404)


@pytest.mark.parametrize("url", ["/api/orders", "/admin/login/", "/nowhere"])
def test_behind_tls_browsers_get_hsts(client, production_settings, url):
    expected = "max-age=31536000; includeSubDomains; preload"
    assert client.get(url, headers={"X-Forwarded-Proto": "https"})["Strict-Transport-Security"] == expected
    assert "Strict-Transport-Security" not in client.get(url)


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"HSTS_PRELOAD": "false"}, "max-age=31536000; includeSubDomains"),
        ({"HSTS_PRELOAD": "false", "HSTS_INCLUDE_SUBDOMAINS": "false"}, "max-age=31536000"),
    ],
)
def test_hsts_for_subdomains_and_preload_lists_can_be_switched_off(client, production_settings, given, expected):
    made = service_settings("order_svc", environment={"PLATFORM_ENV": "production", **given})
    for name in ("SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD"):
        setattr(production_settings, name, made[name])
    answer = client.get("/api/orders", headers={"X-Forwarded-Proto": "https"})
    assert answer["Strict-Transport-Security"] == expected


# The request middleware, and Django's signals


def test_a_forwarded_host_is_checked_when_it_counts(client, settings):
    settings.USE_X_FORWARDED_HOST = True
    assert client.get("/data").status_code == 200
    assert client.get("/data", headers={"X-Forwarded-Host": "evil.example"}).status_code == 400


TWO_REQUESTS = """
import json, sys
from django.conf import settings
from django.core.cache.backends.locmem import LocMemCache

class Remote(LocMemCache):
    closed = 0
    def close(self, **_):
        Remote.closed += 1

settings.DATABASES["default"].update(json.loads(sys.argv[1]))
settings.CACHES["default"] = {"BACKEND": "__main__.Remote"}

from platform_core.wsgi import application
from django.core.cache import cache
from django.db import connection
from django.test import RequestFactory

checked, usable = [], connection.is_usable
connection.is_usable = lambda: checked.append(1) or usable()
connection.force_debug_cursor = True
cache.set("a", "b")

def ask():
    answer = application(RequestFactory().get("/health/ready", HTTP_HOST="localhost").environ, lambda *_: None)
    b"".join(answer)
    answer.close()
    return connection.connection, len(connection.queries)

(first, before), (second, after) = ask(), ask()
kept = first is not None and first is second
print(json.dumps({"kept": kept, "checked": len(checked), "closed": Remote.closed, "queries": [before, after]}))
"""


@pytest.mark.parametrize(
    "database, kept, checked",
    [({}, True, 0), ({"CONN_MAX_AGE": 0}, False, 0), ({"CONN_HEALTH_CHECKS": True}, True, 1)],
    ids=str,
)
def test_request_hooks_of_django_follow_the_settings(database, kept, checked):
    """Runs in its own process, because Django's test client reconnects some receivers."""
    done = subprocess.run(
        [sys.executable, "-c", TWO_REQUESTS, json.dumps(database)],
        cwd=ROOT,
        env={
            **plain_environment(),
            "DJANGO_SETTINGS_MODULE": "order_svc.settings",
            "DATABASE_URL": os.environ["DATABASE_URL"],
            "LOG_LEVEL": "error",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    before, after = seen.pop("queries")
    assert seen == {"kept": kept, "checked": checked, "closed": 2}
    assert 0 < after <= before


def test_receivers_are_disconnected_only_while_they_have_nothing_to_do(settings):
    ours, caches = settings.DATABASES["default"], settings.CACHES
    databases, cache = {close_old_connections}, {close_caches}

    def idle(databases=None, caches=caches):
        return {receiver for _, receiver in idle_receivers(databases or {"default": ours}, caches)}

    assert idle() == databases | cache
    assert idle({"default": {**ours, "CONN_MAX_AGE": 60}}) == cache
    assert idle({"default": {**ours, "CONN_HEALTH_CHECKS": True}}) == cache
    assert idle({"default": {}}) == cache
    assert idle({"default": ours, "replica": ours}) == cache
    assert idle(caches={**caches, "other": {"BACKEND": "django.core.cache.backends.redis.RedisCache"}}) == databases
