"""`python -m tests chaos [--minutes N] [--seed N]`."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from platform_core.topology import SERVICES
from tests.e2e.proxy import Faults, ProxiedStack
from tests.mail_servers import MailServer, serving_mail

CLOCK = Path(__file__).parent / "clock"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--minutes", type=float, default=0.5, help="how long the load and the killing go on")
    parser.addoption("--seed", type=int, default=20, help="who is killed when; the same seed does the same again")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def seed(request) -> int:
    return request.config.getoption("--seed")


@pytest.fixture
def mail() -> Iterator[MailServer]:
    """Where notification-service sends its mails."""
    with serving_mail() as server:
        yield server


@pytest.fixture
def clock(tmp_path) -> Path:
    """The file that says how many seconds the clocks of processes that start from now on are ahead."""
    return tmp_path / "clock"


@pytest.fixture
def stack(faults, mail, clock, seed) -> Iterator[ProxiedStack]:
    with tempfile.TemporaryDirectory(prefix="platform-chaos-") as folder, ExitStack() as resources:
        Path(folder).chmod(0o755)
        stack = ProxiedStack(Path(folder), resources, faults=dict.fromkeys(SERVICES, faults), seed=seed)
        variables = {"EMAIL_URL": f"smtp://127.0.0.1:{mail.port}", "PYTHONPATH": str(CLOCK), "CLOCK_FILE": str(clock)}
        try:
            yield stack.up(PENDING_SECONDS="8", LOG_LEVEL="warn", WEB_CONCURRENCY="2", **variables)
        finally:
            stack.stop()
