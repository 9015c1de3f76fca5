"""The balancer of several hosts: its configuration agrees with the services, and HAProxy does what the docs say.

Some tests start HAProxy and are skipped where it is not installed. `.ci/run` says so.
"""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from platform_core.conf.environment import ROOT
from platform_core.http.context import MAX_DEADLINE
from platform_core.topology import ORDER, SERVICES
from tests.ports import free_ports
from tests.servers import Received, Server, Wire, answers, hangs_up, serving
from tests.wire import until

TEXT = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")
ADDRESSES = ("127.0.0.2", "127.0.0.3")


def test_it_waits_for_an_answer_longer_than_any_deadline():
    (seconds,) = re.findall(r"timeout server (\d+)s", TEXT)
    assert int(seconds) > MAX_DEADLINE


def test_every_service_has_a_section_with_all_hosts():
    found = re.findall(
        r'^listen (\S+)\n    bind "\S+:(\d+)"\n    server a "\S+:(\d+)"\n    server b "\S+:(\d+)"', TEXT, re.M
    )
    assert found == [(s.name, str(s.port + 1000), str(s.port), str(s.port)) for s in SERVICES]


def test_it_tells_services_who_asks_and_changes_no_answer():
    assert "option forwardfor" in TEXT
    assert "compression" not in TEXT, "ETags would be weak"


@pytest.fixture
def hosts() -> Iterator[list[Server]]:
    """order-service on two addresses. Each is ready until a test changes that."""
    (port,) = free_ports(1)
    with ExitStack() as resources:
        yield [
            resources.enter_context(serving(listener=socket.create_server((address, port)))).will(
                when_ready(answers({}))
            )
            for address in ADDRESSES
        ]


def when_ready(then: Callable[..., bool | None], status: int = 200) -> Callable[[Wire, Received], bool | None]:
    """Answers the balancer's questions with this status, and all else as ``then`` does."""

    def answer(wire: Wire, request: Received) -> bool | None:
        if request.path == "/health/ready":
            return answers({}, status, keep_alive=False)(wire, request)
        return then(wire, request)

    return answer


@pytest.fixture
def url(hosts: list[Server], tmp_path: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    head, _ = TEXT.split("# begin generated")
    (section,) = re.findall(rf"^listen {ORDER.name}\n(?:    .*\n)+", TEXT, re.M)
    section = section.replace(str(ORDER.port + 1000), str(port)).replace(f":{ORDER.port}", f":{hosts[0].port}")
    (tmp_path / "haproxy.cfg").write_text(head + section)
    variables = {"BALANCER_ADDRESS": "127.0.0.1", "HOST_A": ADDRESSES[0], "HOST_B": ADDRESSES[1]}
    process = subprocess.Popen([str(HAPROXY), "-db", "-f", tmp_path / "haproxy.cfg"], env={**os.environ, **variables})
    try:
        until(lambda: all(host.requests for host in hosts))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def asked(host: Server) -> list[Received]:
    return [request for request in host.requests if request.path != "/health/ready"]


def post(url: str) -> requests.Response:
    return requests.post(f"{url}/api/orders", json={}, timeout=20)


@needs_haproxy
def test_requests_go_to_all_hosts(url, hosts):
    assert {post(url).status_code for _ in range(6)} == {200}
    assert all(asked(host) for host in hosts)


@needs_haproxy
def test_what_a_host_may_have_taken_is_not_sent_again(url, hosts):
    for host in hosts:
        host.will(when_ready(hangs_up))
    answer = post(url)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (502, "unavailable", "1")
    assert sum(len(asked(host)) for host in hosts) == 1


@needs_haproxy
def test_what_a_host_refused_goes_to_the_other_one(url, hosts):
    hosts[0].stop_listening()
    assert [post(url).status_code for _ in range(4)] == [200] * 4
    assert len(asked(hosts[1])) == 4


@needs_haproxy
def test_a_host_that_is_not_ready_gets_no_requests_and_none_leave_503(url, hosts):
    hosts[0].will(when_ready(answers({}), 503))
    until(lambda: spared(url, hosts[0]))
    hosts[1].will(when_ready(answers({}), 503))
    until(lambda: post(url).status_code == 503)
    answer = post(url)
    assert (answer.json()["code"], answer.headers["Retry-After"]) == ("unavailable", "1")
    hosts[0].will(when_ready(answers({})))
    until(lambda: post(url).status_code == 200)


def spared(url: str, host: Server) -> bool:
    """Whether four requests go past the host."""
    before = len(asked(host))
    for _ in range(4):
        post(url)
    return len(asked(host)) == before
