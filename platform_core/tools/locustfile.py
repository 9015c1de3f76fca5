"""The virtual users of `manage.py load`, which runs this file in locust. They call the ``*_SERVICE_URL``s.

First all users sign up and sign in, then all shop. The two phases are measured separately, because hashing passwords
costs more CPU than everything else. Users send one request after the other without pauses: the aim is to measure the
platform's throughput, not to imitate people.
"""

import json
import math
import os
import random
import secrets
import signal
import sys
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gevent
import locust.stats
from gevent.event import Event
from locust import FastHttpUser, events
from locust.runners import STATE_CLEANUP
from rich.console import Console
from rich.live import Live
from rich.table import Table

from platform_core.conf.environment import parsed, read_dotenv
from platform_core.tools.load import MIX, mix_of
from platform_core.tools.tables import fits, fitted
from platform_core.topology import ORDER, PRODUCT, SERVICES, USER, Service

read_dotenv()
VALUES = parsed(os.environ)
URLS = {service: VALUES[service.url_variable] for service in SERVICES}
SHELF, STOCK = 20, 1_000_000
CONSOLE = Console(highlight=False)
if not CONSOLE.is_terminal:
    CONSOLE.width = max(CONSOLE.width, 120)  # one line for each endpoint

# locust keeps whole milliseconds and two digits of a time. With three digits a percentile is at most 0.5 % off.
locust.stats.bucket_response_time = lambda milliseconds: float(f"{milliseconds:.3g}")  # type: ignore[assignment,return-value]


class Run:
    """The state that all users of a run share. ``remarks`` counts the messages about what could not be done."""

    def __init__(self, environment: Any, remarks: Mapping[str, int]) -> None:
        self.environment, self.remarks = environment, Counter(remarks)
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.began, self.entered, self.opened = time.monotonic(), 0, Event()
        self.entering: dict[str, Any] = {}
        self.watcher = gevent.Greenlet(self.watch)

    def report(self) -> dict[str, Any]:
        """The figures of the current phase."""
        seconds, stats = max(time.monotonic() - self.began, 0.001), self.environment.stats

        def figures(entry: locust.stats.StatsEntry, outcomes: Mapping[str, int]) -> dict[str, Any]:
            most, percentile = round(entry.max_response_time, 2), entry.get_response_time_percentile
            return {
                "requests": entry.num_requests,
                "perSecond": round(entry.num_requests / seconds, 2),
                "milliseconds": {f"p{n}": min(percentile(n / 100), most) for n in (50, 95, 99)} | {"max": most},
                "outcomes": dict(outcomes),
                "failures": entry.num_failures,
            }

        return {
            "seconds": round(seconds, 2),
            "total": figures(stats.total, sum(self.outcomes.values(), Counter())),
            "endpoints": {key[0]: figures(each, self.outcomes[key[0]]) for key, each in sorted(stats.entries.items())},
            "remarks": dict(self.remarks),
        }

    def open(self) -> None:
        """End the phase of signing in, and let the users shop."""
        self.entering = self.report()
        self.environment.stats.clear_all()
        self.outcomes.clear()
        self.began = time.monotonic()
        self.opened.set()
        if seconds := self.environment.parsed_options.seconds:
            gevent.spawn_later(seconds, self.environment.runner.quit)

    def watch(self) -> None:
        """Show the current figures on the terminal, until the greenlet is killed."""
        with Live(console=CONSOLE, transient=True, auto_refresh=False) as live:
            while True:
                report, what = self.report(), "Shopping" if self.entering else "Signing up and in"
                whole, totals = table(report, what), table({**report, "endpoints": {}}, what)
                # In a narrow terminal, all endpoints as paragraphs would be higher than the screen.
                live.update(whole if fits(CONSOLE, whole) else fitted(CONSOLE, totals), refresh=True)
                gevent.sleep(0.5)

    def end(self) -> None:
        """Print the summary, write it as JSON, set the exit code."""
        self.watcher.kill()
        if not self.opened.is_set():  # stopped early
            self.open()
        shopping, options = self.report(), self.environment.parsed_options
        for what, report in (("Signing up and in", self.entering), ("Shopping", shopping)):
            CONSOLE.print(fitted(CONSOLE, table(report, what)))
            for name, entry in report["endpoints"].items():
                for outcome, count in sorted(entry["outcomes"].items()):
                    CONSOLE.print(f"{count} × {outcome}: {name}", soft_wrap=True)
        for remark, count in self.remarks.items():
            CONSOLE.print(f"{count} × {remark}" if count > 1 else remark, style="yellow", soft_wrap=True)
        if options.summary:
            report = {"users": options.num_users, "mix": options.mix, **shopping, "entering": self.entering}
            options.summary.write_text(json.dumps(report, indent=2) + "\n")
        failures = self.entering["total"]["failures"] + shopping["total"]["failures"]
        self.environment.process_exit_code = 1 if failures or self.environment.runner.exceptions else 0


def table(report: Mapping[str, Any], what: str) -> Table:
    """The figures of a `Run.report` as a table. ``what`` is the name of the phase."""
    rows = Table(title=f"{what}: {report['seconds']:.1f} s. Times in milliseconds.", title_justify="left")
    rows.add_column("endpoint", overflow="fold")
    for column in ("requests", "per second", "p50", "p95", "p99", "max", "failures"):
        rows.add_column(column, justify="right", no_wrap=True)
    for name, entry in [*report["endpoints"].items(), ("all", report["total"])]:
        figures = [entry["perSecond"], *entry["milliseconds"].values()]
        failures = f"[red]{entry['failures']}[/]" if entry["failures"] else "0"
        if name == "all":
            rows.add_section()
        rows.add_row(name, str(entry["requests"]), *(f"{figure:.1f}" for figure in figures), failures)
    return rows


class Shopper(FastHttpUser):
    """One virtual user. FastHttpUser takes half the CPU of HttpUser (0.7 ms a request), which the platform needs."""

    host = URLS[PRODUCT]  # required by locust; each request has its own URL
    insecure = False
    connection_timeout = network_timeout = 30.0
    shared: Run
    products: list[str] = []
    token = user = ""
    renew_at = math.inf

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.random = random.Random()  # noqa: S311  # no secret
        self.account = {"email": f"load-{uuid.uuid4().hex}@example.com", "password": secrets.token_urlsafe(12)}
        self.orders: deque[str] = deque(maxlen=20)

    def ask(self, method: str, service: Service, path: str, named: str = "", **wanted: Any) -> tuple[int, Any, str]:
        """Send a request. Returns status (0 after a failure), body, and outcome, such as ``409 insufficient_stock``.

        ``named`` is the template of the path, under which the figures are collected. A missing answer, an answer that
        is not a JSON object, and a 5xx are failures, except a 503 with Retry-After: the service is busy, or a peer does
        not answer.
        """
        if time.monotonic() > self.renew_at:
            self.sign_in()
        name = f"{service.stem} {method} {named or path.split('?')[0]}"
        headers = wanted.pop("headers", {}) | ({"Authorization": f"Bearer {self.token}"} if self.token else {})
        with gevent.Timeout(60):  # for the whole exchange; locust counts it as a missing answer
            url = URLS[service] + path
            response: Any = self.client.request(method, url, name, catch_response=True, headers=headers, **wanted)
        with response:
            status: int = response.status_code
            failed = not status or (status >= 500 and not (status == 503 and "Retry-After" in response.headers))
            try:
                body: Any = response.json() if status else {}
                code = body.get("code", "")
            except (ValueError, AttributeError):
                body, code, failed = {}, "", True
            outcome = f"{status} {code}".strip() if status else "no answer"
            response.failure(outcome) if failed else response.success()
        if failed or status >= 400:
            self.shared.outcomes[name][outcome] += 1
        if status == 429 and self.user:
            self.shared.remarks["request was throttled; RATE_LIMITS allows more"] += 1
        if status in (0, 429, 503):
            gevent.sleep(0.2)  # as a considerate client does
        return 0 if failed else status, body, outcome

    def on_start(self) -> None:
        """Sign up and sign in, then wait until all users have done so."""
        status, body, outcome = self.ask("POST", USER, "/api/users", json={"name": "Load Test", **self.account})
        if status == 201:
            self.user = body["id"]
            self.sign_in()
        else:
            hints = {429: "; SIGN_UPS_PER_HOUR allows more", 202: "; they need EMAIL_VERIFICATION=off"}
            hint = hints.get(status, "")
            self.shared.remarks[f"users who could not sign up ({outcome}) and only browsed{hint}"] += 1
        shared, runner = self.shared, self.environment.runner
        shared.entered += 1
        while not shared.opened.is_set() and runner.state != STATE_CLEANUP:
            if shared.entered >= runner.target_user_count:
                shared.open()
            shared.opened.wait(0.5)

    def sign_in(self) -> None:
        """Get an access token. Only production needs it, but development also does it, so that it is measured."""
        self.renew_at = math.inf
        status, body, outcome = self.ask("POST", USER, "/api/auth/token", json=self.account)
        if status == 200:
            self.token = body["access"]
        else:
            self.shared.remarks[f"sign-ins that failed ({outcome})"] += 1
        self.renew_at = time.monotonic() + (body["expiresIn"] * 0.8 if status == 200 else 5)

    def browse(self) -> None:
        """Read a list of products, or one product."""
        if self.random.random() < 0.5 or not self.products:
            self.ask("GET", PRODUCT, "/api/products?limit=20")
        else:
            self.ask("GET", PRODUCT, f"/api/products/{self.random.choice(self.products)}", "/api/products/{id}")

    def search(self) -> None:
        """Search for products by a word."""
        word = self.random.choice(("load", "lamp", "chair", "table", "mug", "a"))
        self.ask("GET", PRODUCT, f"/api/products?search={word}&limit=20", "/api/products?search=")

    def order(self) -> None:
        """Place an order of one to three products; browse if that is impossible."""
        if self.user and self.products:
            chosen = self.random.sample(self.products, min(self.random.randint(1, 3), len(self.products)))
            items = [{"productId": product, "quantity": self.random.randint(1, 3)} for product in chosen]
            order, key = {"userId": self.user, "items": items}, {"Idempotency-Key": uuid.uuid4().hex}
            status, body, _ = self.ask("POST", ORDER, "/api/orders", json=order, headers=key)
            self.orders.extend([body["id"]] if status == 201 else [])
        else:
            self.browse()

    def read(self) -> None:
        """Read one of the user's orders, or their list; browse if there are none."""
        if not self.orders:
            self.browse()
        elif self.random.random() < 0.5:
            self.ask("GET", ORDER, f"/api/orders/user/{self.user}", "/api/orders/user/{id}")
        else:
            self.ask("GET", ORDER, f"/api/orders/{self.random.choice(self.orders)}", "/api/orders/{id}")

    def cancel(self) -> None:
        """Cancel the user's oldest known order; browse if there is none."""
        if self.orders:
            self.ask("POST", ORDER, f"/api/orders/{self.orders.popleft()}/cancel", "/api/orders/{id}/cancel")
        else:
            self.browse()

    def fill_shelf(self) -> None:
        """Find or create products with plenty of stock to order. If that is not allowed, use the shop's products."""
        status, body, outcome = self.ask("GET", PRODUCT, "/api/products?search=loadtest&inStock=true&limit=200")
        if status != 200:
            sys.exit(f"product-service at {URLS[PRODUCT]} does not answer: {outcome}.")
        products = [product["id"] for product in body["results"] if product["stock"] > STOCK // 2]
        while status in (200, 201) and len(products) < SHELF:
            product = {"name": f"Loadtest {uuid.uuid4().hex[:6]}", "price": 5 + len(products), "stock": STOCK}
            status, body, outcome = self.ask("POST", PRODUCT, "/api/products", json=product)
            products += [body["id"]] if status == 201 else []
        if not products:
            status, body, _ = self.ask("GET", PRODUCT, "/api/products?inStock=true&limit=200")
            products = [product["id"] for product in body["results"]] if status == 200 else []
            instead = "the shop's were ordered" if products else "nothing was ordered"
            remark = f"products of its own could not be made ({outcome}); STAFF_TOKEN lets it; {instead}"
            self.shared.remarks[remark] += 1
        Shopper.products = products


def interrupt() -> None:
    """Treat Ctrl-C like SIGTERM. A KeyboardInterrupt would interrupt a user's request and be printed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends the process at once
    signal.raise_signal(signal.SIGTERM)


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add the options that `platform_core.tools.load` passes to locust."""
    parser.add_argument("--mix", type=mix_of, default=MIX, help="weights of the actions", include_in_web_ui=False)
    parser.add_argument("--seconds", type=int, help="duration of the second phase", include_in_web_ui=False)
    parser.add_argument("--summary", type=Path, help="file for the summary as JSON", include_in_web_ui=False)


@events.init.add_listener
def prepare(environment: Any, **_: Any) -> None:
    """Prepare the products before the first run, and register what happens when a run starts and stops."""
    options = environment.parsed_options
    Shopper.tasks = [getattr(Shopper, name) for name, weight in options.mix.items() for _ in range(weight)]
    preparing = Shopper.shared = Run(environment, {})
    clerk = Shopper(environment)
    clerk.token = VALUES["STAFF_TOKEN"]
    clerk.fill_shelf()

    if not options.headless:
        CONSOLE.print(f"locust's page: http://{options.web_host}:{options.web_port} (Ctrl-C ends it)", soft_wrap=True)

    def start(**_: Any) -> None:
        Shopper.shared = Run(environment, preparing.remarks)
        if options.headless:
            CONSOLE.print(f"{options.num_users} users sign up and in …")
            Shopper.shared.watcher.start()

    def stop(**_: Any) -> None:
        if Shopper.shared is not preparing:
            Shopper.shared.end()

    events.test_start.add_listener(start)
    events.test_stop.add_listener(stop)
    gevent.signal_handler(signal.SIGINT, interrupt)
    # Otherwise locust computes the exit code of an interrupted run before the run has ended.
    events.quitting.add_listener(lambda **_: environment.runner.quit())
