"""The proxy of production: its configuration agrees with the services, and nginx does with it what the docs say.

Most tests start nginx and are skipped where it is not installed (variable NGINX_PROGRAM: its path). `.ci/run` says so.
"""

import ast
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from platform_core.conf.environment import ROOT
from platform_core.http.context import MAX_DEADLINE
from platform_core.http.request_body import MAX_BODY_BYTES, MAX_ENVELOPE_BYTES, MAX_UPLOAD_BYTES, UPLOAD_SECONDS
from platform_core.topology import ORDER, SERVICES
from tests.nginx import NGINX, TEXT, configured
from tests.ports import free_ports
from tests.servers import Received, Server, Wire, answers, hangs_up, serving
from tests.wire import until

OVERLAY = yaml.safe_load((ROOT / "compose.prod.yaml").read_text())
PROXY = OVERLAY["services"]["proxy"]
HOST = "order.shop.example.com"
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


def directive(name: str) -> str:
    """The arguments of a directive that holds for all servers."""
    (found,) = re.findall(rf"^ {{4}}{name}\s+([^;]+);", TEXT, re.MULTILINE)
    return found


def size(text: str) -> int:
    return int(text[:-1]) * {"k": 1024, "m": 1024**2}[text[-1]]


def seconds(name: str) -> int:
    return int(directive(name).removesuffix("s"))


def gunicorn() -> dict[str, Any]:
    tree = ast.parse((ROOT / "deploy" / "gunicorn.conf.py").read_text())
    return {
        node.targets[0].id: node.value.value  # type: ignore[attr-defined]
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }


def test_it_takes_the_bodies_that_the_services_take():
    assert size(directive("client_max_body_size")) == MAX_BODY_BYTES


def test_the_upload_of_a_file_alone_may_be_larger_and_is_not_kept_by_the_proxy():
    ((path, block),) = re.findall(r"^ {8}location = (/admin/\S+) \{\n(.*?)^ {8}\}", TEXT, re.MULTILINE | re.DOTALL)
    assert [path] == list(import_module("product_svc.settings").UPLOADS)
    allowed = re.search(r"client_max_body_size (\w+);", block)
    assert allowed and size(allowed[1]) >= MAX_UPLOAD_BYTES + MAX_ENVELOPE_BYTES
    assert "proxy_request_buffering off;" in block
    waits = re.search(r"proxy_read_timeout (\d+)s;", block)
    assert waits and int(waits[1]) > UPLOAD_SECONDS


def test_it_takes_all_heads_that_the_services_take_so_that_they_answer_for_themselves():
    number, longest = directive("large_client_header_buffers").split()
    limits = gunicorn()
    assert size(longest) > max(limits["limit_request_line"], limits["limit_request_field_size"])
    assert int(number) * size(longest) >= 100 * 1024


def test_it_waits_for_an_answer_longer_than_any_deadline():
    assert seconds("proxy_read_timeout") > MAX_DEADLINE


def test_a_request_is_not_sent_again_after_it_has_waited_for_its_answer():
    assert seconds("proxy_connect_timeout") < seconds("proxy_next_upstream_timeout") < seconds("proxy_read_timeout")
    assert directive("proxy_next_upstream_tries") == "2"
    assert "non_idempotent" not in directive("proxy_next_upstream")
    assert "http_" not in directive("proxy_next_upstream"), "a 503 is an answer"


def test_it_changes_no_answer_so_that_etags_stay_strong():
    assert not re.search(r"^\s*(gzip|brotli|gunzip|etag)\b", TEXT, re.MULTILINE)


def test_all_waits_for_a_client_are_bounded():
    for name in ("client_header_timeout", "client_body_timeout", "send_timeout"):
        assert seconds(name) <= 10
    assert seconds("keepalive_timeout") <= 60


def test_it_buffers_requests_and_answers():
    assert directive("proxy_request_buffering") == directive("proxy_buffering") == "on"
    assert "proxy_max_temp_file_size 0" not in TEXT, "the services would wait for slow readers"


def test_every_service_has_a_host():
    hosts = dict(re.findall(r'^\s*"~\^(\w+)\\\." ([\w:-]+);$', TEXT, re.MULTILINE))
    assert hosts == {service.stem: f"{service.name}:{service.port}" for service in SERVICES}


def test_the_services_trust_the_address_of_this_proxy_alone():
    environment = OVERLAY["services"][ORDER.name]["environment"]
    assert environment["NUM_PROXIES"] == "${NUM_PROXIES:-1}"
    assert re.findall(r"proxy_set_header X-Forwarded-For ([^;]+);", TEXT) == ["$remote_addr"]


def test_it_alone_is_reached_from_outside_and_may_do_nothing_else():
    assert PROXY["ports"] == ["80:8080", "443:8443"]
    assert re.fullmatch(r"nginx:\d+\.\d+\.\d+-alpine", PROXY["image"])
    assert (PROXY["user"], PROXY["cap_drop"], PROXY["read_only"]) == ("101:101", ["ALL"], True)
    assert PROXY["security_opt"] == ["no-new-privileges:true"]
    assert PROXY["restart"] == "unless-stopped"


def test_it_is_given_what_its_configuration_names():
    assert set(PROXY["secrets"]) == set(re.findall(r"/run/secrets/(\w+);", TEXT))
    (volume,) = PROXY["volumes"]
    source, target, mode = volume.split(":")
    assert (ROOT / source).is_file()
    assert (target, mode) == (PROXY["command"][2], "ro")
    listening = set(re.findall(r"listen (\d+)", TEXT))
    assert {port.split(":")[1] for port in PROXY["ports"]} == listening
    written = set(re.findall(r"(?:_path|pid) (/\w+)", TEXT))
    assert written == {path.split(":")[0] for path in PROXY["tmpfs"]}


class Proxy:
    """nginx with the configuration of production, but for its ports, paths and services."""

    def __init__(self, folder: Path, upstream: str, *more: str) -> None:
        """``more`` are further addresses of the service. As with names, an address that fails is asked again."""
        self.folder = folder
        self.plain, self.port = free_ports(2)
        replaced = {f"{ORDER.name}:{ORDER.port}": "several" if more else upstream, "10s": "3s"}
        if more:
            addresses = " ".join(f"server {each} max_fails=0;" for each in (upstream, *more))
            replaced["http {"] = f"http {{ upstream several {{ {addresses} }}"
        self.process = subprocess.Popen(configured(folder, "127.0.0.1", self.plain, self.port, replaced))
        until(self.accepts)

    def accepts(self) -> bool:
        assert self.process.poll() is None, (self.folder / "errors").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def ask(self, method: str, path: str, host: str = HOST, **options: Any) -> requests.Response:
        headers = {"Host": host, **options.pop("headers", {})}
        url = f"https://127.0.0.1:{self.port}{path}"
        return requests.request(method, url, headers=headers, verify=False, timeout=20, **options)

    def connect(self) -> ssl.SSLSocket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 20))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


@contextmanager
def proxied(folder: Path, upstream: str, *more: str) -> Iterator[Proxy]:
    proxy = Proxy(folder, upstream, *more)
    try:
        yield proxy
    finally:
        proxy.stop()


@pytest.fixture(scope="module")
def service() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, service: Server) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    with proxied(folder, f"127.0.0.1:{service.port}") as running:
        yield running


@pytest.fixture(autouse=True)
def _fresh(service: Server) -> None:
    service.will(answers({}))
    service.requests.clear()


@needs_nginx
def test_a_request_reaches_the_service_of_its_host_with_the_address_of_its_client(proxy, service):
    headers = {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1", "X-Forwarded-Host": "evil.example.com"}
    passed_on = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "X-Request-ID": "mine", "If-Match": '"3"'}
    headers |= passed_on
    assert proxy.ask("GET", "/api/orders?a=%2F&b", headers=headers).status_code == 200
    (received,) = service.requests
    assert (received.method, received.path) == ("GET", "/api/orders?a=%2F&b")
    assert received.headers["Host"] == HOST
    assert received.headers["X-Forwarded-For"] == "127.0.0.1"
    assert received.headers["X-Forwarded-Proto"] == "https"
    assert {name: received.headers[name] for name in passed_on} == passed_on
    assert not {"Forwarded", "X-Forwarded-Host"} & received.headers.keys()


@needs_nginx
@pytest.mark.parametrize("host", ["shop.example.com", "other.shop.example.com", "127.0.0.1", "xorder.example.com"])
def test_a_host_without_a_service_is_refused(proxy, service, host):
    assert proxy.ask("GET", "/", host=host).status_code == 421
    assert not service.requests


@needs_nginx
def test_plain_http_is_redirected(proxy, service):
    url = f"http://127.0.0.1:{proxy.plain}/admin/?a=b"
    answer = requests.get(url, headers={"Host": HOST}, allow_redirects=False, timeout=20)
    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{HOST}/admin/?a=b")
    assert requests.get(url, headers={"Host": "x"}, allow_redirects=False, timeout=20).status_code == 421
    assert not service.requests


@needs_nginx
def test_the_health_check_of_the_container_finds_what_it_asks_for(proxy):
    path = PROXY["healthcheck"]["test"][-1].partition(":8080")[2]
    assert requests.get(f"http://127.0.0.1:{proxy.plain}{path}", timeout=20).status_code == 204


def assert_problem(answer: requests.Response, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "requestId"}
    assert (body["status"], body["code"], body["requestId"]) == (status, code, answer.headers["X-Request-ID"])


@needs_nginx
def test_a_body_may_be_as_large_as_the_services_take_and_no_larger(proxy, service):
    assert proxy.ask("POST", "/api/orders", data=b"x" * MAX_BODY_BYTES).status_code == 200
    assert_problem(proxy.ask("POST", "/api/orders", data=b"x" * (MAX_BODY_BYTES + 1)), 413, "too_large")
    assert [len(request.body) for request in service.requests] == [MAX_BODY_BYTES]


@needs_nginx
def test_long_heads_are_answered_by_the_service(proxy, service):
    assert proxy.ask("GET", "/" + "a" * 9000, headers={"X-Long": "b" * 9000}).status_code == 200
    assert len(service.requests[0].headers["X-Long"]) == 9000


@needs_nginx
def test_a_slow_body_reaches_the_service_when_it_is_whole(proxy, service):
    head = f"POST /slow HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\n"
    before = service.connections
    with proxy.connect() as sock:
        sock.sendall(head.encode() + b"ab")
        assert proxy.ask("GET", "/other").status_code == 200
        assert service.connections == before + 1, "that of the other request"
        sock.sendall(b"cd")
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
    assert [(each.path, each.body) for each in service.requests] == [("/other", b""), ("/slow", b"abcd")]


@needs_nginx
@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: ", b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Length: 9\r\n\r\nx"]
)
def test_a_client_that_goes_silent_is_cut_off(proxy, service, sent):
    with proxy.connect() as sock:
        sock.sendall(sent.replace(b"%b", HOST.encode()))
        rest = b""
        with suppress(ConnectionResetError):
            while piece := sock.recv(1000):
                rest += piece
    assert not rest or rest.startswith(b"HTTP/1.1 408")
    assert not service.requests


@needs_nginx
def test_a_slow_reader_holds_nothing_of_the_service(proxy, service):
    finished = threading.Event()
    large = answers(b"x" * 40_000_000, keep_alive=False)  # more than the kernel keeps for two sockets

    def answer(wire: Wire, request: Received) -> None:
        large(wire, request)
        finished.set()

    service.will(answer)
    with proxy.connect() as sock:
        sock.sendall(f"GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert finished.wait(20)
        assert sock.recv(100).startswith(b"HTTP/1.1 200"), "nothing of the answer was read before"


@needs_nginx
def test_connections_of_one_address_are_limited(proxy, service):
    held = []

    def refused_beside_ten_more() -> list[requests.Response]:
        for _ in range(10):
            held.append(proxy.connect())
            held[-1].sendall(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 9\r\n\r\n".encode())
        answer = proxy.ask("GET", "/")
        return [answer] if answer.status_code == 429 else []

    try:
        (refused,) = until(refused_beside_ten_more)
    finally:
        for sock in held:
            sock.close()
    assert_problem(refused, 429, "throttled")
    assert refused.headers["Retry-After"] == "1"
    assert "limiting connections by zone" in (proxy.folder / "errors").read_text()
    assert len(held) >= 50, "so many are allowed"
    until(lambda: proxy.ask("GET", "/").status_code == 200)


@needs_nginx
def test_requests_of_one_address_are_limited(tmp_path, service):
    with proxied(tmp_path, f"127.0.0.1:{service.port}") as proxy, proxy.connect() as sock:
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * 900)
        said = b""
        while said.count(b"HTTP/1.1 ") < 900 and (piece := sock.recv(100_000)):
            said += piece
    assert said.count(b"HTTP/1.1 200") >= 200
    assert said.count(b"HTTP/1.1 429") >= 1
    assert "limiting requests" in (tmp_path / "errors").read_text()


@needs_nginx
def test_a_service_that_is_away_is_a_503(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with proxied(tmp_path, f"127.0.0.1:{port}") as proxy:
        answer = proxy.ask("GET", "/api/orders")
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "1"


@needs_nginx
def test_answers_of_the_services_are_passed_on_as_they_are(proxy, service):
    for status in (400, 404, 413, 429, 502, 503, 504):
        service.will(answers({"code": "own"}, status, {"Retry-After": "7"}))
        answer = proxy.ask("GET", "/")
        assert (answer.status_code, answer.json(), answer.headers["Retry-After"]) == (status, {"code": "own"}, "7")


@needs_nginx
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_a_request_that_one_address_refuses_goes_to_another(tmp_path, service, method):
    (closed,) = free_ports(1)
    with proxied(tmp_path, f"127.0.0.1:{closed}", f"127.0.0.1:{service.port}") as proxy:
        answers_of = [proxy.ask(method, "/api/orders").status_code for _ in range(6)]
    assert answers_of == [200] * 6
    assert len(service.requests) == 6
    assert "Connection refused" in (tmp_path / "errors").read_text(), "the first address was asked"


@needs_nginx
@pytest.mark.parametrize("method, is_repeated", [("GET", True), ("PUT", True), ("POST", False), ("PATCH", False)])
def test_what_an_address_has_taken_is_sent_again_only_if_that_does_no_harm(tmp_path, service, method, is_repeated):
    with serving() as dying, proxied(tmp_path, f"127.0.0.1:{dying.port}", f"127.0.0.1:{service.port}") as proxy:
        dying.will(hangs_up)
        said = [proxy.ask(method, "/api/orders") for _ in range(6)]
    assert dying.requests, "it has taken some"
    failed = [answer for answer in said if answer.status_code != 200]
    if is_repeated:
        assert not failed
        assert len(service.requests) == 6
    else:
        assert len(failed) == len(dying.requests)
        assert len(service.requests) + len(dying.requests) == 6, "each was sent once"
        for answer in failed:
            assert_problem(answer, 503, "unavailable")
