"""Every kind of page: the bar and the search, by keyboard, without findings of axe-core, in all widths and schemes."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER
from tests.browser.conftest import sign_in
from tests.e2e.stack import eventually, slow

HERE = Path(__file__).parent
SCHEMES = ("light", "dark")
WIDTHS = (1280, 820, 375)
PAGES = {
    "sign-in": (PRODUCT, "/admin/login/"),
    "admin index": (ORDER, "/admin/"),
    "admin list": (ORDER, "/admin/order_svc/order/"),
    "admin detail": (PRODUCT, "/admin/product_svc/stockmovement/1/change/"),
    "admin form": (PRODUCT, "/admin/product_svc/product/add/"),
    "admin key": (ORDER, "/admin/platform_core/idempotencykey/1/change/"),
    "admin message": (NOTIFICATION, "/admin/notification_svc/notification/1/change/"),
    "admin user": (USER, "/admin/user_svc/user/1/change/"),
    "dashboard": (ANALYTICS, "/"),
    "order": (ORDER, "/orders/3/explain"),
    "api root": (USER, "/api/"),
    "api list": (ORDER, "/api/orders"),
    "api detail": (ORDER, "/api/orders/3"),
    "api form": (PRODUCT, "/api/products"),
    "api docs": (ORDER, "/api/docs"),
    "problem": (ORDER, "/nowhere"),
    "find": (ORDER, "/find?q=nothing"),
    "mails": (NOTIFICATION, "/mails"),
}
ALWAYS = ("admin list", "admin form", "dashboard", "order", "api docs")
"""Kinds of pages that are always tested. The others wait for the night."""
every_page = pytest.mark.parametrize("kind", [kind if kind in ALWAYS else slow(kind) for kind in PAGES])
in_both_schemes = pytest.mark.parametrize(
    ("kind", "scheme"),
    [(kind, scheme) if kind in ALWAYS else slow(kind, scheme) for kind in PAGES for scheme in SCHEMES],
)
_FINDINGS = """async () => {
    const found = await axe.run(document, { resultTypes: ["violations"] });
    const grave = found.violations.filter((each) => ["critical", "serious"].includes(each.impact));
    return grave.map((each) => `${each.id}: ${each.nodes.map((node) => node.target.join(" ")).slice(0, 5).join(", ")}`);
}"""


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The source of axe-core, installed by npm as the lock file says."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / "axe" / name, folder)
    command = ("npm", "ci", "--no-audit", "--no-fund")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def signed_in(stack, shop, password, browser):
    """A window of somebody who is signed in to all services."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    for service in SERVICES:
        sign_in(page, stack, service, password)
    shop.ask("POST", ORDER, "/api/orders/4/cancel", headers={"Idempotency-Key": "cancel-4"})
    page.close()
    yield context
    context.close()


@pytest.fixture
def open_page(stack, signed_in, browser, watch):
    """Opens a kind of page: ``open_page(kind, scheme)``."""
    opened = []

    def open_page(kind, scheme="light"):
        service, path = PAGES[kind]
        context = browser.new_context(viewport={"width": 1280, "height": 900}) if kind == "sign-in" else signed_in
        page = context.new_page()
        opened.append(context if kind == "sign-in" else page)
        watch.follow(page)
        watch.expected.append("404 (Not Found)")
        page.emulate_media(color_scheme=scheme)
        page.goto(stack.direct(service, path))
        if kind == "api docs":
            page.wait_for_selector(".opblock")
        return page

    yield open_page
    for each in opened:
        each.close()


_IS_WIDE = """() => {
    const bar = document.querySelector(".office-bar")?.getBoundingClientRect();
    return !bar || (bar.left === 0 && bar.width === document.documentElement.clientWidth);
}"""


@in_both_schemes
def test_axe_finds_nothing_critical_or_serious(open_page, axe, kind, scheme):
    page = open_page(kind, scheme)
    page.wait_for_load_state("networkidle")
    page.evaluate(axe)
    assert page.evaluate(_FINDINGS) == []


@every_page
def test_a_page_fits_all_widths(open_page, shoot, kind):
    for scheme in SCHEMES:
        page = open_page(kind, scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            fits = "document.documentElement.scrollWidth <= window.innerWidth"
            eventually(f"{kind} fits {width}", lambda page=page, fits=fits: page.evaluate(fits))
            eventually(f"the bar is {width} wide on {kind}", lambda page=page: page.evaluate(_IS_WIDE))
            shoot(page, f"page {kind} {width} {scheme}")


@pytest.mark.parametrize("kind", [kind if kind in ALWAYS else slow(kind) for kind in PAGES if kind != "sign-in"])
def test_the_bar_stands_above_the_page_and_names_the_services(open_page, kind):
    page = open_page(kind)
    page.set_viewport_size({"width": 375, "height": 800})
    bar, title = page.locator(".office-bar").bounding_box(), page.locator("h1 >> visible=true").first.bounding_box()
    assert bar["y"] == 0
    if kind != "api docs":
        assert title["y"] >= bar["y"] + bar["height"], "the bar covers the page"
    up = "() => [...document.querySelectorAll('[data-service]')].filter((link) => link.dataset.status === 'ok').length"
    assert eventually("all services are up", lambda: page.evaluate(up) == len(SERVICES))
    assert page.get_attribute("html", "lang")


def find(page, text, target):
    """Types a text into the bar and waits for the page that it leads to. A slow service may make a list of it first."""
    start = page.url
    page.fill("#office-q", text)
    page.press("#office-q", "Enter")
    page.wait_for_url(lambda url: url != start)
    eventually(target, lambda: page.url.startswith(target) or page.reload() is None)


@pytest.mark.parametrize(
    ("text", "service", "path"),
    [
        ("3", ORDER, "/orders/3/explain"),
        ("ANN3@example.com", USER, "/admin/user_svc/user/"),
        slow("cancel-4", ORDER, "/admin/platform_core/idempotencykey/"),
        slow("order-3-confirmed", NOTIFICATION, "/admin/notification_svc/notification/"),
    ],
)
def test_find_leads_there_from_another_service(stack, open_page, text, service, path):
    page = open_page("dashboard")
    find(page, text, stack.direct(service, path))
    assert page.locator(".office-bar").count() == 1


def test_a_request_id_leads_to_its_order(stack, shop, open_page):
    order = shop.ask(
        "POST", ORDER, "/api/orders", json={"userId": "5", "productId": "11", "quantity": 1},
        headers={"X-Request-ID": "from-the-log-1"},
    ).json()  # fmt: skip
    page = open_page("api list")
    find(page, "from-the-log-1", f"{stack.direct(ORDER, '/orders/')}{order['id']}/explain")


def test_a_member_without_pages_is_led_to_where_they_have_some(stack, browser, signed_in, watch):
    made = stack.run("user_svc", "make_staff", "cat@example.com", "--role", "catalog")
    context = browser.new_context()
    page = context.new_page()
    watch.follow(page)
    page.goto(stack.direct(ORDER, "/admin/"))
    page.fill("input[name=username]", "cat@example.com")
    page.fill("input[name=password]", made.stdout.split()[-1])
    page.click("#login-form button[type=submit]")
    page.locator(".office-elsewhere a", has_text="Products").click()
    page.wait_for_url(f"{stack.direct(PRODUCT, '/admin/')}**")
    context.close()


def focused(page, *, after=60):
    """What the Tab key reaches, one after the other: its name, or its text."""
    name = "() => document.activeElement.getAttribute('aria-label') || document.activeElement.innerText.trim()"
    for _ in range(after):
        page.keyboard.press("Tab")
        yield page.evaluate(name)


def test_the_first_stop_of_the_keyboard_is_a_link_to_the_content(open_page):
    for kind in ("admin list", "api list", "api docs", "dashboard", "order", "problem", "find"):
        page = open_page(kind)
        assert next(focused(page)).startswith("To the "), kind


def test_filters_are_reached_and_opened_by_keyboard(open_page):
    page = open_page("admin list")
    assert any(name.startswith("Filters") for name in focused(page)), "the filters are not among what Tab reaches"
    page.keyboard.press("Enter")
    page.locator("#changelist-filter").wait_for(state="visible")
    page.keyboard.press("Escape")
    page.locator("#changelist-filter").wait_for(state="hidden")


def test_no_icon_is_read_aloud_as_a_word(open_page):
    for kind in ("sign-in", "admin index", "admin list", "admin form"):
        page = open_page(kind)
        page.wait_for_load_state("networkidle")
        page.wait_for_function("() => document.querySelectorAll('[aria-hidden=true].material-symbols-outlined').length")
        read = """() => [...document.querySelectorAll(".material-symbols-outlined")]
            .filter((icon) => !icon.closest("[aria-hidden=true]") && !icon.hasAttribute("aria-label"))
            .map((icon) => icon.textContent.trim())"""
        assert page.evaluate(read) == [], kind


def test_the_theme_of_the_admin_holds_on_the_pages_of_its_service(stack, open_page):
    page = open_page("admin index")
    page.evaluate("localStorage.setItem('adminTheme', JSON.stringify('dark'))")
    dark = "() => getComputedStyle(document.documentElement).colorScheme"
    for path in ("/api/orders", "/api/docs", "/nowhere", "/find", "/orders/3/explain"):
        page.goto(stack.direct(ORDER, path))
        assert page.evaluate(dark) == "dark", path
    page.evaluate("localStorage.removeItem('adminTheme')")


def test_ids_in_an_answer_of_the_docs_lead_to_their_resources(stack, open_page):
    page = open_page("api docs")
    page.locator("#operations-orders-getOrder .opblock-summary-control").click()
    page.locator("#operations-orders-getOrder .try-out__btn").click()
    page.locator("#operations-orders-getOrder tr[data-param-name=id] input").fill("3")
    page.locator("#operations-orders-getOrder .execute").click()
    page.locator(".linked-ids a", has_text="user 3").first.click()
    page.wait_for_url(stack.direct(USER, "/api/users/3"))
    assert json.loads(page.inner_text(".response-info pre").partition("\n\n")[2])["name"] == "Ann 3"
