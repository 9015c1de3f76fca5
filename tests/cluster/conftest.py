"""`python -m tests cluster [--minutes N] [--seed N]`. One cluster serves all scenarios, one after the other."""

import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.cluster.balancing import HAPROXY
from tests.cluster.hosts import NAMES, Cluster
from tests.cluster.load import Load
from tests.cluster.network import CannotBeMade, Network
from tests.e2e.stack import own_folder
from tests.mail_servers import MailServer, serving_mail
from tests.nginx import NGINX

AT_RANDOM = "test_one_fault_after_the_other"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, default=0.0, help="how long one fault follows the other, at random")
    parser.addoption(
        "--seed", type=int, default=20, help="what clients and faults do; the same seed does the same again"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--minutes` only the faults at random, otherwise only the others."""
    is_long = config.getoption("--minutes") > 0
    others = [each for each in items if (each.name == AT_RANDOM) != is_long]
    config.hook.pytest_deselected(items=others)
    items[:] = [each for each in items if each not in others]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run, and why: it must not look as if it had passed."""
    for reason in sorted({str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])}):
        terminalreporter.write_line(reason.removeprefix("Skipped: "), yellow=True)


@pytest.fixture
def seed(request) -> int:
    return request.config.getoption("--seed")


@pytest.fixture(scope="session")
def resources() -> Iterator[ExitStack]:
    """What is undone at the end, and also if the suite is told to stop."""
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.exit("told to stop", returncode=143))
    with own_folder() as folder, ExitStack() as resources:
        resources.folder = folder  # type: ignore[attr-defined]
        yield resources
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def network(resources) -> Network:
    for program, path in {"nginx": NGINX, "haproxy": HAPROXY}.items():
        if path is None:
            pytest.skip(f"Not run here: {program} is not installed, and the hosts stand behind it")
    try:
        network = Network(NAMES)
    except CannotBeMade as error:
        pytest.skip(f"Not run here: {error}")
    resources.callback(network.close)
    return network


@pytest.fixture(scope="session")
def mail(resources, network) -> MailServer:
    """Where the hosts send their mails: on the router's machine, which each of them reaches by its gateway."""
    return resources.enter_context(serving_mail(host="0.0.0.0"))


@pytest.fixture(scope="session")
def cluster(resources, network, mail) -> Cluster:
    cluster = Cluster(resources.folder, network, resources, mail.port)
    cluster.begin()
    return cluster


@pytest.fixture
def load(cluster, mail, seed, request, capsys) -> Iterator[Load]:
    """Clients, not started yet. Their figures are printed at the end."""
    own = random.Random(f"{seed} {request.node.name}").getrandbits(32)  # or keys of an earlier test would come again
    load = Load(cluster, mail, own)
    yield load
    with capsys.disabled():
        print(load.tell(f"{request.node.name} with --seed {seed}"))
