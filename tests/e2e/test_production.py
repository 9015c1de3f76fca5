"""The platform in production mode: every access needs authentication, and no secret leaks."""

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER, Service
from tests.e2e.stack import Shop, Stack, eventually, migrated_server, own_folder

PASSWORD = "planted-password-7Qx"


class Production(Stack):
    """`up` in production mode, with keys and secrets of its own, on a server that has no pooler."""

    def __init__(self, folder: Path, database_url: str) -> None:
        super().__init__(folder, is_pooled=False)
        self.variables = {
            "PLATFORM_ENV": "production",
            "DATABASE_URL": database_url,
            "SECRET_KEY": f"planted-{secrets.token_hex(32)}",
            "METRICS_TOKEN": f"planted-{secrets.token_hex(16)}",
            "ALLOWED_HOSTS": "shop.example.com",
            "KEYS_DIR": str(folder / "keys"),
            "EMAIL_VERIFICATION": "off",
        }

    @property
    def environment(self) -> dict[str, str]:
        return {**super().environment, **self.variables}

    def staff(self, email: str, *roles: str) -> str:
        """Creates a staff account and returns its password."""
        chosen = [part for role in roles for part in ("--role", role)]
        made = self.run("user_svc", "make_staff", email, *chosen, "--new-password")
        assert made.returncode == 0, made.stderr
        return made.stdout.split()[-1]


class Person(Shop):
    """A signed-in user."""

    def __init__(self, stack: Stack, email: str, password: str) -> None:
        super().__init__(stack)
        self.pair = self.sign_in(email, password)

    def sign_in(self, email: str, password: str) -> dict[str, Any]:
        response = Shop.ask(self, "POST", USER, "/api/auth/token", json={"email": email, "password": password})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def ask(self, method: str, service: Service, path: str, **kwargs: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.pair['access']}"} if hasattr(self, "pair") else {}
        return super().ask(method, service, path, headers=headers, **kwargs)


class Browser:
    """A browser behind a TLS proxy. It keeps cookies and sends Origin and Referer."""

    def __init__(self, stack: Stack, service: Service) -> None:
        self.base = stack.direct(service)
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, data: dict[str, str] | None = None, **headers: str) -> requests.Response:
        response = requests.request(
            method,
            self.base + path,
            data=data,
            headers={
                "X-Forwarded-Proto": "https",
                "Referer": self.base.replace("http:", "https:") + path,
                "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
                "Accept": "text/html",
                **headers,
            },
            allow_redirects=False,
            timeout=40,
        )
        self.cookies |= response.cookies.get_dict()
        return response

    def sign_in(self, username: str, password: str, following: str = "/admin/") -> requests.Response:
        page = self.ask("GET", "/admin/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
        assert token
        fields = {"username": username, "password": password, "csrfmiddlewaretoken": token[1], "next": following}
        return self.ask("POST", "/admin/login/", fields)

    def pages(self, most: int = 80) -> Iterator[tuple[str, str]]:
        """Pages of the admin that can be reached from its index by links."""
        seen, ahead = {"/admin/"}, ["/admin/"]
        while ahead and len(seen) < most:
            path = ahead.pop(0)
            answer = self.ask("GET", path)
            yield path, answer.text
            for link in re.findall(r'href="([^"#]+)', answer.text):
                found = urlsplit(link if link.startswith("/") else path + link)
                if found.path.startswith("/admin/") and found.path not in seen and "logout" not in found.path:
                    seen.add(found.path)
                    ahead.append(found.path)


@pytest.fixture(scope="module")
def production(template: Path) -> Iterator[Production]:
    with own_folder() as folder, migrated_server(template) as database_url:
        stack = Production(folder, database_url)
        try:
            made = stack.run("keys")
            assert made.returncode == 0, made.stderr
            stack.up()
            yield stack
        finally:
            stack.stop()


@pytest.fixture(scope="module")
def ann(production: Production) -> Person:
    body = {"name": "Ann", "email": "ann@example.com", "password": PASSWORD}
    assert Shop(production).made(USER, "/api/users", **body)["email"] == "ann@example.com"
    return Person(production, "ann@example.com", PASSWORD)


@pytest.fixture(scope="module")
def boss(production: Production) -> Person:
    return Person(production, "boss@example.com", production.staff("boss@example.com", "admin"))


@pytest.fixture(scope="module")
def lamp(boss: Person) -> dict[str, Any]:
    return dict(boss.made(PRODUCT, "/api/products", name="Lamp", price=19.99, stock=100))


def own_id(person: Person) -> str:
    return str(person.get(USER, "/api/users/me")["id"])


def test_anonymous_callers_only_see_the_catalog_and_health(production, lamp):
    stranger = Shop(production)
    assert stranger.get(PRODUCT, f"/api/products/{lamp['id']}")["name"] == "Lamp"
    for service in SERVICES:
        assert stranger.get(service, "/health") == {"status": "ok", "service": service.name}
    closed = [
        *((USER, path) for path in ("/api/users", "/api/users/1", "/api/users/me", "/api/events")),
        *((ORDER, path) for path in ("/api/orders", "/api/orders/1", "/api/orders/user/1", "/api/events")),
        *((NOTIFICATION, path) for path in ("/api/notifications", "/api/notifications/1")),
        *((PRODUCT, path) for path in ("/api/events", "/api/stock-reservations/1")),
        (ANALYTICS, "/api/analytics/summary"),
    ]
    for service, path in closed:
        answer = stranger.ask("GET", service, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated"), path
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="platform"'


def test_a_customer_orders_for_themselves_and_the_staff_does_the_rest(production, ann, boss, lamp):
    order = ann.made(ORDER, "/api/orders", userId=own_id(ann), productId=lamp["id"], quantity=2)
    assert order["status"] == "confirmed"
    ours = {"userId": own_id(boss), "productId": lamp["id"], "quantity": 1}
    assert ann.ask("POST", ORDER, "/api/orders", json=ours).status_code == 403
    assert [each["id"] for each in ann.get(ORDER, "/api/orders")["results"]] == [order["id"]]
    assert ann.ask("POST", ORDER, f"/api/orders/{order['id']}/ship").status_code == 403
    assert boss.ask("POST", ORDER, f"/api/orders/{order['id']}/ship").json()["status"] == "shipped"
    of_ann = f"/api/notifications/{own_id(ann)}"
    types = eventually(
        "both messages are sent",
        lambda: (
            {each["type"] for each in ann.get(NOTIFICATION, of_ann)["results"] if each["status"] == "sent"}
            == {"order_confirmed", "order_shipped"}
        ),
    )
    assert types
    summary = boss.get(ANALYTICS, "/api/analytics/summary")
    assert summary["stale"] == []
    assert summary["orders"]["revenue"] == 39.98


def test_the_user_for_whom_services_call_is_in_their_logs(production, ann, lamp):
    user_id = own_id(ann)
    order = ann.made(ORDER, "/api/orders", userId=user_id, productId=lamp["id"], quantity=1)
    path = f"/api/stock-reservations/{order['id']}"
    lines = [json.loads(line) for line in production.said().splitlines() if line.startswith("{")]
    (reserved,) = [line for line in lines if line.get("path") == path and line.get("method") == "PUT"]
    assert (reserved["caller"], reserved["user"]) == ("service:order-service", user_id)


def test_tokens_signed_before_and_after_a_rotation_are_valid(production, ann):
    before = production.run("user_svc", "rotate_keys")
    assert before.returncode == 0, before.stderr
    after = Person(production, "ann@example.com", PASSWORD)
    for person in (ann, after):
        for service, path in ((USER, "/api/users/me"), (ORDER, "/api/orders"), (NOTIFICATION, "/api/notifications")):
            assert person.ask("GET", service, path).status_code == 200


def test_services_take_new_keys_one_after_the_other_while_orders_go_on(production, ann, lamp):
    rotated = production.run("keys", "--rotate")
    assert rotated.returncode == 0, rotated.stderr
    for restarted in (ORDER, PRODUCT):
        _restart(production, restarted)
        placed = ann.made(ORDER, "/api/orders", userId=own_id(ann), productId=lamp["id"], quantity=1)
        assert placed["status"] == "confirmed"


def _restart(stack: Stack, service: Service) -> None:
    master = stack.webs(service)[0]
    master.kill()
    eventually(f"{service.name} is back", lambda: _answers(stack, service, master))


def _answers(stack: Stack, service: Service, gone: psutil.Process) -> bool:
    try:
        return not gone.is_running() and Shop(stack).ask("GET", service, "/health/ready").status_code == 200
    except requests.ConnectionError:
        return False


def test_one_staff_account_opens_the_five_admins_according_to_its_roles(production):
    password = production.staff("cat@example.com", "catalog")
    for service in SERVICES:
        browser = Browser(production, service)
        answer = browser.sign_in("cat@example.com", password)
        assert answer.status_code == 302, f"{service.name}: {answer.text[-2000:]}"
        assert browser.ask("GET", "/admin/").status_code == 200
    products, users = Browser(production, PRODUCT), Browser(production, USER)
    for browser in (products, users):
        browser.sign_in("cat@example.com", password)
    assert products.ask("GET", "/admin/product_svc/product/add/").status_code == 200
    assert users.ask("GET", "/admin/user_svc/user/").status_code == 403
    assert users.ask("GET", "/admin/user_svc/signingkey/").status_code == 404


def test_a_customer_does_not_get_into_an_admin_and_the_way_back_leads_nowhere_else(production, ann):
    browser = Browser(production, PRODUCT)
    assert browser.sign_in("ann@example.com", PASSWORD).status_code == 200, "the form again"
    password = production.staff("ann2@example.com", "catalog")
    answer = browser.sign_in("ann2@example.com", password, "https://evil.example.com/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")


def test_a_session_of_an_admin_opens_the_api_by_its_roles_and_wants_the_csrf_token(production):
    browser = Browser(production, PRODUCT)
    browser.sign_in("cat@example.com", production.staff("cat@example.com", "catalog"))
    body = {"name": "Chair", "price": "5"}
    assert browser.ask("GET", "/api/events").status_code == 200
    assert browser.ask("POST", "/api/products", body).status_code == 403
    token = browser.cookies[next(name for name in browser.cookies if name.endswith("csrf"))]
    assert browser.ask("POST", "/api/products", body, **{"X-CSRFToken": token}).status_code == 201


def test_no_secret_is_in_logs_metrics_events_answers_or_admin_pages(production, ann, boss, lamp):
    password = production.staff("boss@example.com", "admin")
    bad = [
        ann.ask("GET", ORDER, "/api/orders?x=1"),
        requests.get(production.direct(USER, "/api/users/me"), headers={"Authorization": f"bearer {PASSWORD}"}),
        Shop(production).ask("POST", USER, "/api/auth/token", json={"email": "ann@example.com", "password": "x"}),
        Shop(production).ask("POST", USER, "/api/users", json={"name": "", "email": "x", "password": PASSWORD}),
        Shop(production).ask("POST", USER, "/api/auth/refresh", json={"refresh": ann.pair["refresh"] + "x"}),
    ]
    assert all(400 <= answer.status_code < 500 for answer in bad)
    texts = {f"answer {n}": answer.text for n, answer in enumerate(bad)}
    for service in SERVICES:
        texts[f"metrics of {service.name}"] = Shop(production).ask("GET", service, "/metrics").text
        texts[f"schema of {service.name}"] = Shop(production).ask("GET", service, "/api/schema").text
        if service.has_feed:
            texts[f"feed of {service.name}"] = boss.ask("GET", service, "/api/events?limit=1000").text
        browser = Browser(production, service)
        assert browser.sign_in("boss@example.com", password).status_code == 302
        texts |= {f"{service.name} {path}": text for path, text in browser.pages()}
    texts["logs"] = production.said()
    keys = (Path(production.variables["KEYS_DIR"]) / service.name / "private.json" for service in SERVICES)
    planted = {
        "the password": PASSWORD,
        "the staff's password": password,
        "SECRET_KEY": production.variables["SECRET_KEY"],
        "METRICS_TOKEN": production.variables["METRICS_TOKEN"],
        "an access token": ann.pair["access"].split(".")[2],
        "a refresh token": ann.pair["refresh"],
        "a hash of a password": "argon2id$v",
        **{f"a key ({file.parent.name})": json.loads(file.read_text())["d"] for file in keys},
    }
    assert len([name for name in texts if "/admin/" in name]) > 40
    found = [
        f"{what} in {where}" for what, secret in planted.items() for where, text in texts.items() if secret in text
    ]
    assert not found


def test_the_processes_of_a_service_share_the_budget_of_a_customer(production):
    body = {"name": "Greta", "email": "greta@example.com", "password": PASSWORD}
    Shop(production).made(USER, "/api/users", **body)
    greta = Person(production, "greta@example.com", PASSWORD)
    answers = [greta.ask("POST", ORDER, "/api/orders/999999/cancel") for _ in range(62)]
    assert [answer.status_code for answer in answers] == [404] * 60 + [429] * 2
    left = [re.fullmatch(r'"mails";r=(\d+);t=(\d+)', answer.headers["RateLimit"])[1] for answer in answers]
    assert left == [str(number) for number in (*range(59, -1, -1), 0, 0)]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"mails";q=60;w=60'}
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61
    assert greta.ask("GET", ORDER, "/api/orders").status_code == 200, "reads have a budget of their own"


def test_verify_holds_and_asks_for_a_token_of_the_staff(production, boss):
    stranger = production.run("verify", "--wait", "1")
    assert stranger.returncode == 1
    assert "set STAFF_TOKEN" in stranger.stdout
    done = production.run("verify", STAFF_TOKEN=boss.pair["access"])
    assert done.returncode == 0, done.stdout


def test_up_refuses_to_start_in_production_unprepared_and_names_every_reason(own_stack):
    own_stack.is_pooled = False  # it has no database
    process = own_stack.launch(PLATFORM_ENV="production", CORS_ALLOWED_ORIGINS="*", DEBUG="true")
    assert process.wait(60) != 0
    said = own_stack.said()
    for reason in ("DEBUG", "ALLOWED_HOSTS", "CORS_ALLOWED_ORIGINS", "DATABASE_URL", "SECRET_KEY", "KEYS_DIR"):
        assert reason in said, said
    assert not own_stack.processes()


def test_webhooks_get_events_of_every_feed_and_go_to_public_addresses_only(production: Production) -> None:
    admin = Person(production, "hooks@example.com", production.staff("hooks@example.com", "admin"))
    body = {"url": "https://shop.invalid/hook", "events": ["user.created", "product.created"]}
    for url in ("http://shop.invalid/hook", "https://127.0.0.1/hook", "https://[::ffff:10.0.0.1]/hook"):
        refused = admin.ask("POST", NOTIFICATION, "/api/webhooks", json={**body, "url": url})
        assert refused.status_code == 400, refused.text
    assert Shop(production).ask("POST", NOTIFICATION, "/api/webhooks", json=body).status_code == 401
    webhook = admin.made(NOTIFICATION, "/api/webhooks", **body)
    admin.made(USER, "/api/users", name="Zoe", email="zoe@example.com", password=PASSWORD)
    admin.made(PRODUCT, "/api/products", name="Lamp", price=1, stock=1)

    def failed() -> bool:
        path = f"/api/webhooks/{webhook['id']}/deliveries"
        found = {d["eventType"]: d["lastError"] for d in admin.get(NOTIFICATION, path)["results"]}
        return set(found) == set(body["events"]) and all("is not known" in error for error in found.values())

    eventually("both events were tried", failed)
    said = production.said()
    assert webhook["secret"] not in said
    assert "webhook.feed_unreachable" not in said.split('"/api/webhooks"')[-1]
    assert admin.ask("DELETE", NOTIFICATION, f"/api/webhooks/{webhook['id']}").status_code == 204
