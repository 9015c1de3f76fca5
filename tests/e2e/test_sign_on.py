"""One sign-in opens the admins of all services, and signing out anywhere ends it everywhere."""

from urllib.parse import parse_qs, quote, urlsplit

import pytest
import requests

from platform_core.topology import ANALYTICS, NOTIFICATION, ORDER, PRODUCT, SERVICES, USER, Service
from tests.e2e.freezing import frozen
from tests.e2e.stack import Stack, eventually
from tests.wire import form_fields

BOSS, ANN = "boss@example.com", "ann@example.com"
OTHERS = (PRODUCT, ORDER, NOTIFICATION, ANALYTICS)
MINUTE = 75.0
"""The promised minute, and some seconds for slow machines."""


class Person:
    """A browser: it keeps cookies and follows redirects."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Accept"] = "text/html,application/xhtml+xml"

    def get(self, url: str, *, follow: bool = True) -> requests.Response:
        return self.session.get(url, allow_redirects=follow, timeout=40)

    def open(self, service: Service, path: str = "/admin/") -> requests.Response:
        return self.get(self.stack.direct(service, path))

    def fill_in(self, page: requests.Response, username: str, password: str) -> requests.Response:
        """Submits the form of a sign-in page."""
        fields = {**form_fields(page.text), "username": username, "password": password}
        return self.session.post(page.url, fields, timeout=40)

    def sign_in(self, password: str, username: str = BOSS) -> requests.Response:
        return self.fill_in(self.open(USER), username, password)

    def sign_out(self, service: Service) -> requests.Response:
        token = self.session.cookies[f"{service.stem}_csrf"]
        return self.session.post(
            self.stack.direct(service, "/admin/logout/"), {"csrfmiddlewaretoken": token}, timeout=40
        )

    def is_in(self, service: Service) -> bool:
        """Whether the admin opens without a redirect."""
        return self.get(self.stack.direct(service, "/admin/"), follow=False).status_code == 200

    def ticket(self, service: Service, following: str = "/admin/") -> str:
        """The address that redeems a ticket. It is not visited."""
        begun = self.get(self.stack.direct(service, f"/admin/login/?next={quote(following)}"), follow=False)
        issued = self.get(begun.headers["Location"], follow=False)
        return issued.headers["Location"]


@pytest.fixture(scope="module")
def passwords(stack: Stack) -> dict[str, str]:
    made = stack.run("user_svc", "make_staff", BOSS, "--role", "admin", "--new-password")
    assert made.returncode == 0, made.stderr
    body = {"name": "Ann", "email": ANN, "password": "correct horse battery"}
    assert requests.post(stack.direct(USER, "/api/users"), json=body, timeout=40).status_code == 201
    return {BOSS: made.stdout.split()[-1], ANN: body["password"]}


@pytest.fixture
def boss(stack: Stack, passwords: dict[str, str]) -> Person:
    """The boss, signed in at user-service."""
    boss = Person(stack)
    assert boss.sign_in(passwords[BOSS]).status_code == 200
    return boss


@pytest.fixture
def local_superuser(stack: Stack) -> str:
    """The password of a superuser of order-service alone, called `keeper`."""
    made = stack.run(
        "order_svc",
        "createsuperuser",
        "--noinput",
        DJANGO_SUPERUSER_USERNAME="keeper",
        DJANGO_SUPERUSER_EMAIL="keeper@example.com",
        DJANGO_SUPERUSER_PASSWORD="a local password 7",
    )
    assert made.returncode == 0 or "already taken" in made.stderr, made.stderr
    return "a local password 7"


def page_of(answer: requests.Response) -> tuple[int, str]:
    return urlsplit(answer.url).port or 0, urlsplit(answer.url).path


def test_one_sign_in_opens_all_five_admins(stack, boss):
    for service in SERVICES:
        answer = boss.open(service)
        assert answer.status_code == 200, answer.text[-2000:]
        assert page_of(answer) == (stack.ports[service.package], "/admin/")
        assert "Site administration" in answer.text
    assert page_of(boss.open(ANALYTICS, "/?days=7"))[1] == "/"


def test_a_browser_that_begins_anywhere_signs_in_at_user_service_and_comes_back_to_its_page(stack, passwords):
    somebody = Person(stack)
    wanted = "/admin/order_svc/order/?status=confirmed&o=-1"
    form = somebody.open(ORDER, wanted)
    assert page_of(form) == (stack.ports[USER.package], "/admin/login/")
    assert "order-service" in form.text
    answer = somebody.fill_in(form, BOSS, passwords[BOSS])
    assert answer.url == stack.direct(ORDER, wanted)
    assert answer.status_code == 200


def test_programs_get_the_form_of_the_service_itself(stack):
    for accept in ("*/*", "application/json"):
        page = requests.get(stack.direct(ORDER, "/admin/"), headers={"Accept": accept}, timeout=40)
        assert page_of(page) == (stack.ports[ORDER.package], "/admin/login/")
        assert 'name="password"' in page.text


@pytest.mark.nightly
def test_signing_out_at_one_ends_it_at_all_five_within_a_minute_and_leaves_other_browsers_alone(stack, boss, passwords):
    another, third = Person(stack), Person(stack)
    for person in (another, third):
        assert person.sign_in(passwords[BOSS]).status_code == 200
    assert third.open(ORDER).status_code == 200
    left_over = boss.ticket(PRODUCT)
    for service in SERVICES:
        assert boss.open(service).status_code == another.open(service).status_code == 200
        assert boss.is_in(service)
    assert "The other admins end your session" in boss.sign_out(ORDER).text
    third.sign_out(USER)
    assert not boss.is_in(ORDER)
    asked = boss.open(ORDER)
    assert page_of(asked) == (stack.ports[USER.package], "/admin/login/"), "user-service asks at once"
    for service in SERVICES:
        eventually(f"{service.name} has ended it", lambda: not boss.is_in(service), MINUTE)  # noqa: B023  # at once
        assert another.is_in(service)
    refused = boss.get(left_over)
    assert refused.status_code == 400
    assert not boss.is_in(PRODUCT)
    assert not third.is_in(USER)
    eventually("order-service has ended what user-service ended", lambda: not third.is_in(ORDER), MINUTE)


def test_a_ticket_works_once(stack, boss):
    address = boss.ticket(ORDER)
    assert boss.get(address).status_code == 200
    copied = {name: value for name, value in boss.session.cookies.items() if not name.startswith("order_session")}
    thief = Person(stack)
    thief.session.cookies.update(copied)
    answer = thief.get(address)
    assert answer.status_code == 400
    assert not thief.is_in(ORDER)
    assert boss.get(address).status_code == 200, "a reload goes on to the page"


def test_a_ticket_for_another_service_is_refused(stack, boss):
    query = urlsplit(boss.ticket(ORDER)).query
    boss.ticket(PRODUCT)  # so that there is a cookie
    answer = boss.get(stack.direct(PRODUCT, f"/admin/signed-on/?{query}"))
    assert answer.status_code == 400
    assert not boss.is_in(PRODUCT)


def test_a_ticket_that_another_browser_asked_for_is_refused(stack, boss, passwords):
    """Otherwise a stranger could sign a victim in with the stranger's account."""
    stranger, victim = boss, Person(stack)
    address = stranger.ticket(ORDER)
    answer = victim.get(address)
    assert (answer.status_code, "did not ask for it" in answer.text) == (400, True)
    victim.get(stack.direct(ORDER, "/admin/login/"), follow=False)  # with a cookie of its own, too
    assert victim.get(address).status_code == 400
    assert not victim.is_in(ORDER)
    assert stranger.get(address).status_code == 200, "it was not spent by that"


def test_a_browser_without_cookies_gets_a_page_and_no_loop(stack, boss):
    class NoCookies(requests.cookies.RequestsCookieJar):
        def set_cookie(self, *args, **kwargs):
            pass

    address = boss.ticket(ORDER)
    shy = Person(stack)
    shy.session.cookies = NoCookies()
    answer = shy.get(address)
    assert (answer.status_code, len(answer.history)) == (400, 0)
    assert "cookies" in answer.text


EVIL = (
    "//evil.example/",
    "///evil.example/",
    "https://evil.example/",
    "https:evil.example",
    "https:/evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "%2f%2fevil.example",
    "/%09/evil.example",
    "/\t/evil.example",
    "/x\r\nLocation: https://evil.example/",
    "javascript:alert(1)",
    "evil.example",
)


@pytest.mark.parametrize("elsewhere", EVIL)
def test_the_way_back_leads_to_no_other_host(stack, boss, elsewhere):
    origin = stack.direct(ORDER)
    answer = boss.get(stack.direct(ORDER, f"/admin/login/?next={quote(elsewhere, safe='')}"), follow=False)
    while answer.is_redirect:
        target = answer.headers["Location"]
        parts = urlsplit(requests.compat.urljoin(answer.url, target))
        assert f"{parts.scheme}://{parts.netloc}" in {stack.direct(service) for service in SERVICES}
        answer = boss.get(parts.geturl(), follow=False)
    assert answer.url.startswith(origin)
    # The second way in: user-service is asked directly.
    state = parse_qs(urlsplit(Person(stack).get(f"{origin}/admin/login/", follow=False).headers["Location"]).query)
    query = f"service=order-service&state={state['state'][0]}&next={quote(elsewhere, safe='')}"
    issued = boss.get(stack.direct(USER, f"/admin/sign-on/?{query}"), follow=False).headers["Location"]
    assert issued.startswith(f"{origin}/admin/signed-on/?ticket=")


@pytest.mark.parametrize("service", ["evil.example", "https://evil.example", "user-service", "", "order-service.evil"])
def test_user_service_sends_nobody_to_a_service_that_it_does_not_know(stack, boss, service):
    query = f"service={quote(service, safe='')}&state={'a' * 64}&next=/admin/"
    answer = boss.get(stack.direct(USER, f"/admin/sign-on/?{query}"), follow=False)
    assert answer.status_code == 400
    assert "ticket=" not in answer.text


def test_a_customer_gets_a_clear_answer(stack, passwords):
    ann = Person(stack)
    answer = ann.fill_in(ann.open(ORDER), ANN, passwords[ANN])
    assert answer.status_code == 200
    assert "has no role" in answer.text
    assert len(answer.history) == 0


def test_without_user_service_a_local_superuser_signs_in_and_sessions_go_on(stack, boss, local_superuser):
    assert boss.open(ORDER).status_code == 200
    keeper = Person(stack)
    local = keeper.open(ORDER, "/admin/login/?local&next=/admin/order_svc/order/")
    assert page_of(local) == (stack.ports[ORDER.package], "/admin/login/"), "asked for the local form"
    with frozen(stack.webs(USER)):
        form = keeper.open(ORDER, "/admin/order_svc/order/")
        assert page_of(form) == (stack.ports[ORDER.package], "/admin/login/"), "not sent to user-service"
        answer = keeper.fill_in(form, "keeper", local_superuser)
        assert answer.url == stack.direct(ORDER, "/admin/order_svc/order/")
        assert answer.status_code == 200
        assert boss.is_in(ORDER)
        assert "Signed out here alone" in boss.sign_out(ORDER).text
        assert not boss.is_in(ORDER)
    assert keeper.is_in(ORDER)
