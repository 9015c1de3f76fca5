"""Security policies for browsers, and pages that comply with them. Tested with the pages of order-service."""

import re
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import Group
from django.utils.timezone import now

from order_svc.models import Order, OrderLine
from platform_core.outbox.models import OutboxMessage

pytestmark = pytest.mark.django_db
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
API_PAGES = ("/api/", "/api/orders", "/api/orders/1", "/api/orders/1/cancel", "/api/orders?limit=x", "/api/events")
OTHER_PAGES = ("/api/docs", "/nowhere")
ADMIN_PAGES = (
    *("/admin/", "/admin/login/", "/admin/password_change/", "/admin/search/?s=order", "/admin/nowhere/"),
    *("/admin/order_svc/", "/admin/order_svc/order/", "/admin/order_svc/order/?status__exact=confirmed"),
    *("/admin/order_svc/order/1/change/", "/admin/order_svc/order/1/history/", "/admin/outbox/outboxmessage/"),
    *("/admin/events/event/", "/admin/auth/group/add/", "/admin/auth/group/1/delete/"),
    *("/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/user/1/change/", "/admin/auth/user/1/password/"),
)
PAGES = (*API_PAGES, *OTHER_PAGES, *ADMIN_PAGES)


class Page(HTMLParser):
    """The parts of a page that a policy applies to."""

    def __init__(self, text):
        super().__init__()
        self.inline, self.styled, self.loaded, self.expressions = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = {name: value or "" for name, value in attributes}
        if tag == "script" and "src" not in values and values.get("type") != "application/json":
            self.inline.append(self.get_starttag_text())
        for name, value in values.items():
            if name.startswith("on") or value.lower().lstrip().startswith("javascript:"):
                self.inline.append(f"{name}={value}")
            if name.startswith("x-"):
                self.expressions.append(" ".join(value.split()))
        if tag == "style" or "style" in values:
            self.styled.append(self.get_starttag_text())
        if tag in ("script", "link", "img", "iframe"):
            self.loaded.append(values.get("src") or values.get("href"))

    @property
    def foreign(self):
        return [url for url in self.loaded if url and not re.match(r"/(?!/)", url)]


def directives(answer):
    parts = [part.split() for part in answer["Content-Security-Policy"].split(";")]
    assert len(parts) == len({name for name, *_ in parts})
    return {name: sources for name, *sources in parts}


@pytest.fixture
def visit(client, admin_client, admin_user):
    """A page for a superuser, with rows in its tables."""
    order = Order.objects.create(pk=1, user_id=1, currency="USD", status="confirmed", total=20, confirmed_at=now())
    OrderLine.objects.create(order=order, product_id=11, quantity=2, name="Lamp", unit_price=10, subtotal=20)
    OutboxMessage.objects.create(key="1", kind="note", destination="there", aggregate="order:1", payload={})
    Group.objects.create(pk=1, name="clerks")

    def get(path):
        path = path.replace("/user/1/", f"/user/{admin_user.pk}/")
        answer = (client if "login" in path else admin_client).get(
            path, headers={"Accept": BROWSER}, follow="/change/" in path
        )
        assert answer.status_code in (200, 400, 404, 405)
        return answer

    return get


@pytest.mark.parametrize("path", PAGES)
def test_every_page_forbids_foreign_scripts_and_framing(visit, path):
    answer = visit(path)
    policy = directives(answer)
    assert (
        policy["default-src"] == policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == ["'none'"]
    )
    assert policy["script-src"] == policy["connect-src"] == policy["form-action"] == ["'self'"]
    assert answer["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_script_in_it_or_loads_anything_from_elsewhere(visit, path):
    page = Page(visit(path).content.decode())
    assert page.inline == []
    assert page.foreign == []


@pytest.mark.parametrize("path", [*API_PAGES, *OTHER_PAGES])
def test_outside_the_admin_no_page_has_styles_in_it(visit, path):
    answer = visit(path)
    assert directives(answer)["style-src"] == ["'self'"]
    assert Page(answer.content.decode()).styled == []


@pytest.mark.parametrize(
    "path", ["/api/orders", "/admin/", "/nowhere", "/health", "/metrics", "/static/x.js", "/admin"]
)
@pytest.mark.parametrize("accept", [BROWSER, "application/json"])
def test_every_response_has_isolation_headers(client, path, accept):
    answer = client.get(path, headers={"Accept": accept})
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not answer.has_header("Strict-Transport-Security")


@pytest.mark.parametrize("path", PAGES)
def test_pages_forbid_embedding_and_device_access(visit, path):
    answer = visit(path)
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert {"camera=()", "geolocation=()", "microphone=()"} <= set(answer["Permissions-Policy"].split(", "))


@pytest.mark.parametrize("path", ["/api/orders", "/api/orders/404", "/api/schema", "/health", "/metrics", "/nowhere"])
def test_responses_that_are_not_pages_get_the_strictest_policy(client, path):
    answer = client.get(path, headers={"Accept": "application/json"})
    assert directives(answer) == {"default-src": ["'none'"], "frame-ancestors": ["'none'"]}


def test_an_unchanged_resource_leaves_the_policy_alone_that_the_browser_has(visit, client):
    etag = client.get("/api/orders/1")["ETag"]
    answer = client.get("/api/orders/1", headers={"If-None-Match": etag})
    assert answer.status_code == 304
    assert not answer.has_header("Content-Security-Policy")


def test_the_docs_load_their_script_from_a_file(admin_client):
    page = admin_client.get("/api/docs").content.decode()
    assert '<script src="/api/docs?script="></script>' in page
    script = admin_client.get("/api/docs?script=", headers={"Accept": "*/*"})
    assert script["Content-Type"].startswith("application/javascript")
    assert 'url: "/api/schema"' in script.content.decode()
    assert admin_client.cookies["order_csrf"].value


def test_the_admin_needs_no_eval(client):
    alpine = client.get("/static/unfold/js/alpine/alpine.js").getvalue().decode()
    assert "CSP Parser Error" in alpine
    assert not re.search(r"new (Async)?Function\b|\beval\(", alpine)
    assert b"Permission is hereby granted" in client.get("/static/unfold/js/alpine/LICENSE").getvalue()


def test_the_script_covers_every_alpine_expression_that_needs_eval(visit):
    """After an upgrade of unfold, this lists the expressions that `admin.js` of `platform_core` must cover."""
    expressions = {text for path in ADMIN_PAGES for text in Page(visit(path).content.decode()).expressions}
    assert len(expressions) > 50
    beyond = re.compile(r"=>|;.|`|\.\.\.|\?\?|\?\.|\b(if|for|const|let|var|new|function|await|typeof)\b")
    kept = "localStorage.setItem('sidebarDesktopOpen', {} ? '1' : '0')"
    watched = f"$watch('sidebarDesktopOpen', value => {kept.format('value')});"
    assert {text for text in expressions if beyond.search(text)} == {
        f"activeTab = ''; {watched}",
        f"activeTab = getCurrentTab() || 'general'; {watched}",
        f"sidebarDesktopOpen = !sidebarDesktopOpen; {kept.format('sidebarDesktopOpen')};",
        "if (!$event.metaKey && !$event.ctrlKey) selectItem(false, false)",
    }
    names = {name for text in expressions for name in re.findall(r"(?<![.\w'])(document|window\.\w+|[A-Z]\w+)\b", text)}
    assert names <= {"window.location"}
