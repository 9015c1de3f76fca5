"""A real browser on a running platform. Tests fail on console errors and on requests to other hosts."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from platform_core.conf.environment import ROOT
from platform_core.topology import ANALYTICS, ORDER, PRODUCT, SERVICES, USER, Service
from tests.e2e.stack import Shop, Stack

SCREENSHOTS = ROOT / "artefacts" / "screenshots"
STAFF = "boss@example.com"
_SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def chromium() -> str:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "no Chromium on the PATH: install it, or name it with CHROMIUM=..."
    return found


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="platform-browser-") as name:
        Path(name).chmod(0o755)  # as root the embedded Postgres runs as another user
        stack = Stack(Path(name))
        try:
            yield stack.up()
        finally:
            stack.stop()


@pytest.fixture(scope="session")
def shop(stack: Stack) -> Shop:
    """A platform with products and orders."""
    shop = Shop(stack)
    for number in range(1, 13):
        shop.made(USER, "/api/users", name=f"Ann {number}", email=f"ann{number}@example.com")
        stock = 3 * number
        shop.made(PRODUCT, "/api/products", name=f"Lamp {number}", price=19.99, stock=stock, category="light")
    for number in range(1, 9):
        shop.made(ORDER, "/api/orders", userId=str(number), productId=str(number), quantity=2)
    shop.ask("POST", ORDER, "/api/orders/1/cancel")
    shop.ask("POST", ORDER, "/api/orders/2/ship")
    shop.get(ANALYTICS, "/api/analytics/summary")
    return shop


@pytest.fixture(scope="session")
def password(stack: Stack) -> str:
    """The password of the account for all five admins."""
    made = stack.run("user_svc", "make_staff", STAFF, "--role", "admin")
    assert made.returncode == 0, made.stderr
    return made.stdout.split()[-1]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(_SWITCHES))
        yield browser
        browser.close()


@dataclass
class Watch:
    """The console errors and the requests of a browser."""

    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("console", self.listen)

    def listen(self, message: Any) -> None:
        if message.type == "error" or "Content Security Policy" in message.text:
            self.complaints.append(f"{message.location.get('url', '')}: {message.text}")

    def judge(self, stack: Stack) -> None:
        ours = {urlsplit(stack.direct(service)).netloc for service in SERVICES} | {""}
        assert self.hosts <= ours, "another host was asked"
        left = [complaint for complaint in self.complaints if not any(known in complaint for known in self.expected)]
        assert not left, "\n".join(left)


@pytest.fixture
def watch(stack: Stack) -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.judge(stack)


@pytest.fixture
def window(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(window: BrowserContext, watch: Watch) -> Page:
    page = window.new_page()
    watch.follow(page)
    return page


@pytest.fixture
def shoot(request: pytest.FixtureRequest) -> Any:
    """Saves a screenshot of a page under artefacts/screenshots."""

    def shoot(page: Page, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(SCREENSHOTS / f"{re.sub(r'[^a-z0-9-]+', '-', name.lower())}.png"), full_page=True)

    return shoot


def sign_in(page: Page, stack: Stack, service: Service, password: str) -> None:
    """Opens a service's admin with a staff account. The form is user-service's; a signed-in window sees none."""
    page.goto(stack.direct(service, "/admin/"))
    if "/login" in page.url:
        submit(page, STAFF, password)
    page.wait_for_url(stack.direct(service, "/admin/"))


def submit(page: Page, username: str, password: str) -> None:
    """Fills in the form of a sign-in page."""
    page.fill("input[name=username]", username)
    page.fill("input[name=password]", password)
    page.click("#login-form button[type=submit]")
