"""The transport adapter on libcurl, against real sockets with all faults that libcurl lets through."""

import datetime
import ipaddress
import os
import shutil
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import certifi
import pycurl
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from requests.exceptions import InvalidHeader, InvalidURL

from platform_core.clients import connections
from platform_core.clients.connections import Adapter, Dropped, NotConnected
from tests import servers
from tests.servers import answers, hangs_up, resets, says, trickles
from tests.wire import at_once, until

LONG = 60.0
"""Seconds. No test waits for this to pass."""
METHODS = ["GET", "HEAD", "DELETE", "PUT", "PATCH", "POST"]


@pytest.fixture
def peer():
    with servers.serving() as server:
        yield server


@pytest.fixture
def adapter():
    with closing(Adapter()) as adapter:
        yield adapter


def prepared(url, method="GET", headers=None, body=None):
    request = requests.PreparedRequest()
    request.method, request.url, request.headers, request.body = method, url, headers or {}, body
    return request


@pytest.fixture
def send(adapter, peer):
    def send(method="GET", path="/", headers=None, body=None, timeout=LONG):
        return adapter.send(prepared(peer.url + path, method, headers, body), timeout=timeout)

    return send


def echoes(wire, request):
    return answers({"path": request.path})(wire, request)


# What comes back


def test_an_answer_is_a_response_of_requests(peer, send):
    head = b"HTTP/1.1 404 Not Here\r\nContent-Type: application/json; charset=utf-8\r\nVary: Accept\r\nVary: Origin\r\n"
    peer.will(says(head + b'X-Empty:\r\nContent-Length: 11\r\n\r\n{"id": "1"}'))
    response = send(path="/a?b=1")
    assert isinstance(response, requests.Response)
    assert (response.status_code, response.reason, response.ok) == (404, "Not Here", False)
    assert (response.json(), response.text, response.encoding) == ({"id": "1"}, '{"id": "1"}', "utf-8")
    assert (response.headers["content-length"], response.headers["vary"]) == ("11", "Accept, Origin")
    assert response.headers["X-Empty"] == ""
    assert response.url == response.request.url == peer.url + "/a?b=1"
    with pytest.raises(requests.HTTPError):
        response.raise_for_status()


def test_a_session_can_be_put_on_it(peer, adapter):
    peer.will(echoes)
    session = requests.Session()
    session.mount("http://", adapter)
    assert session.get(f"{peer.url}/a", params={"b": "c d"}, timeout=LONG).json() == {"path": "/a?b=c+d"}
    assert session.post(f"{peer.url}/b", json={"x": 1}, timeout=LONG).json() == {"path": "/b"}
    assert peer.requests[-1].json == {"x": 1}


@pytest.mark.parametrize("options", [{}, {"timeout": None}, {"timeout": (1, 2)}])
def test_a_call_without_one_bound_is_refused(peer, adapter, options):
    with pytest.raises(ValueError):
        adapter.send(prepared(peer.url), **options)
    assert peer.connections == 0


@pytest.mark.parametrize("options", [{"verify": False}, {"cert": "/me.pem"}])
def test_options_of_tls_that_it_does_not_support_are_refused(peer, adapter, options):
    with pytest.raises(ValueError):
        adapter.send(prepared(peer.url), timeout=LONG, **options)
    assert peer.connections == 0


def test_headers_of_interim_answers_and_trailers_are_no_headers_of_the_answer(peer, send):
    interim = b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Early: 2\r\n\r\n"
    trailer = b"0\r\nX-Late: 1\r\nHTTP/1.1 500 Oops: 1\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
    peer.will(says(interim + final + trailer))
    response = send()
    assert (response.status_code, response.reason, response.content) == (200, "OK", b"{}")
    assert dict(response.headers) == {"Transfer-Encoding": "chunked"}


def test_the_length_in_the_answer_to_a_head_is_not_that_of_a_body(peer, send):
    """Behind it, the same connection carries answers with bodies again."""
    peer.will(answers(headers={"Content-Length": "123456789000"}), answers(b"{}"), answers(b"[]"))
    response = send("HEAD")
    assert (response.content, response.headers["Content-Length"]) == (b"", "123456789000")
    assert (send().content, send("POST", body=b"x").content) == (b"{}", b"[]")
    assert [request.method for request in peer.requests] == ["HEAD", "GET", "POST"]
    assert peer.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: applic",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"",
    ],
)
def test_half_a_head_is_no_answer(peer, send, head):
    """libcurl treats the end of the connection as the end of the head."""
    peer.will(says(head))
    with pytest.raises(Dropped):
        send()


@pytest.mark.parametrize("start", [b"Content-Length: 1000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n5\r\n{"])
def test_half_a_body_is_no_answer(peer, send, start):
    peer.will(says(b"HTTP/1.1 200 OK\r\n" + start))
    with pytest.raises(requests.ConnectionError) as caught:
        send()
    assert type(caught.value) is requests.ConnectionError


@pytest.mark.parametrize(
    "start, piece",
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b" " * 1024 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" " * 1024),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", b" " * 1024),
        (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1024),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    ],
    ids=["chunks", "no length", "a length", "headers", "one header", "interim answers"],
)
def test_an_answer_without_end_is_cut_off(peer, send, monkeypatch, start, piece):
    monkeypatch.setattr(connections, "MAX_BODY", 100_000)
    ended = threading.Event()

    def endless(wire, request):
        try:
            wire.send(start)
            while wire.patient(0):
                wire.send(piece)
        except OSError:
            ended.set()

    peer.will(endless)
    with pytest.raises(requests.ConnectionError):
        send()
    assert ended.wait(LONG)


# What is sent


def test_only_the_headers_of_the_request_are_sent(peer, send):
    for method in METHODS:
        send(method, headers={"X-One": "1", "X-Empty": "", "x-blank": "  "})
        sent = dict(peer.requests[-1].headers)
        length = {} if method in ("GET", "HEAD", "DELETE") else {"Content-Length": "0"}
        assert sent == {"Host": f"127.0.0.1:{peer.port}", "X-One": "1", "X-Empty": "", "x-blank": "", **length}


def test_a_large_body_is_sent_without_asking_first(peer, send):
    body = bytes(range(256)) * 10_000
    for method in ("PUT", "POST", "PATCH", "DELETE"):
        send(method, body=body)
        assert peer.requests[-1].body == body
        assert set(peer.requests[-1].headers) == {"Host", "Content-Length"}
    send("POST", body="ä")
    assert peer.requests[-1].body == "ä".encode()


def test_a_body_is_not_sent_again_with_the_next_request(peer, send):
    send("PUT", body=b"secret")
    for method in METHODS:
        send(method)
        assert peer.requests[-1].body == b""
        assert peer.requests[-1].method == method


def test_the_path_is_sent_as_it_is(peer, send):
    send(path="/a/../b//./%2E%2E?q=%20&r=../")
    assert peer.requests[0].path == "/a/../b//./%2E%2E?q=%20&r=../"


EVIL = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\r\n\r\nGET /evil HTTP/1.1", "a\0b", "a\u20ac"]


@pytest.mark.parametrize("value", EVIL)
@pytest.mark.parametrize("place", ["value", "name", "method"])
def test_a_line_break_does_not_make_another_header(peer, send, value, place):
    headers = {"value": {"X-Note": value}, "name": {value: "1"}}.get(place)
    with pytest.raises(InvalidHeader):
        send(value if place == "method" else "GET", headers=headers)
    assert peer.connections == 0


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX-Evil: 1", "/a\nb", "/a\0b", "/\ud800"])
def test_a_url_with_blanks_or_line_breaks_is_not_requested(peer, send, path):
    with pytest.raises((NotConnected, InvalidURL)):
        send(path=path)
    assert peer.connections == 0


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "127.0.0.1", ""])
def test_nothing_but_http_is_spoken(adapter, url):
    with pytest.raises(NotConnected):
        adapter.send(prepared(url), timeout=LONG)


def test_a_user_in_the_url_signs_in_unless_the_request_has_a_token(peer, adapter):
    url = peer.url.replace("//", "//me:secret@")
    adapter.send(prepared(url), timeout=LONG)
    adapter.send(prepared(url, headers={"Authorization": "Bearer x"}), timeout=LONG)
    sent = [request.headers for request in peer.requests]
    assert [headers["Authorization"] for headers in sent] == ["Basic bWU6c2VjcmV0", "Bearer x"]
    assert {headers["Host"] for headers in sent} == {f"127.0.0.1:{peer.port}"}


def test_cookies_are_not_kept(peer, send):
    peer.will(answers({}, headers={"Set-Cookie": "a=1"}))
    send()
    send()
    assert "Cookie" not in peer.requests[1].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer(peer, send, status):
    peer.will(answers(b"", status, {"Location": "/elsewhere"}))
    assert send().status_code == status
    assert len(peer.requests) == 1


@pytest.mark.parametrize("status", [401, 407, 417])
def test_refusals_are_not_retried(peer, adapter, status):
    peer.will(answers({}, status, {"WWW-Authenticate": "Basic", "Proxy-Authenticate": "Basic"}))
    url = peer.url.replace("//", "//me:secret@")
    assert adapter.send(prepared(url, "POST", body=b"x" * 2_000_000), timeout=LONG).status_code == status
    assert len(peer.requests) == 1


def test_proxies_of_the_environment_are_ignored(peer, send, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, servers.refused_url())
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert send().status_code == 200


# Once


@pytest.mark.parametrize("drop", [hangs_up, resets])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("body", [None, b"x" * 1000])
def test_a_request_that_a_kept_connection_lost_is_not_sent_again(peer, send, drop, method, body):
    """Unless it is prevented, libcurl repeats a request of any method on a new connection."""
    peer.will(answers({}), drop, answers({}))
    send()
    with pytest.raises(Dropped):
        send(method, body=body if method != "HEAD" else None)
    assert [request.method for request in peer.requests] == ["GET", method]
    assert send().status_code == 200


def test_a_peer_that_took_the_request_and_then_died_has_seen_something(peer, send):
    """libcurl's second attempt finds no listener."""

    def dies(wire, request):
        peer.stop_listening()

    peer.will(answers({}), dies)
    send()
    with pytest.raises(Dropped):
        send("POST")


def test_a_peer_that_took_the_request_and_then_froze_has_seen_something(peer, send):
    """libcurl's second attempt waits for a connection until the time is over."""
    address, resources = ("127.0.0.1", peer.port), ExitStack()

    def freezes(wire, request):
        peer.stop_listening()
        until(lambda: is_free(address))
        resources.enter_context(servers.frozen(address))

    peer.will(answers({}), freezes)
    with resources:
        send()
        with pytest.raises(requests.Timeout):
            send("POST", timeout=1.0)


def test_a_refused_connection_means_that_the_peer_saw_nothing(adapter):
    with pytest.raises(NotConnected):
        adapter.send(prepared(servers.refused_url(), "POST"), timeout=LONG)


@pytest.mark.parametrize("method", METHODS)
def test_a_connection_that_was_closed_meanwhile_is_replaced_before_it_is_used(peer, send, method):
    for _ in range(200):
        assert send(method).status_code == 200
        peer.drop_connections()
    assert peer.connections == 200


def open_files():
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_replaced_connections_are_closed(peer, send):
    send()
    before = open_files()
    for _ in range(20):
        peer.drop_connections()
        send()
    until(lambda: open_files() <= before)


def test_a_connection_that_was_idle_for_too_long_is_not_used_again(peer, monkeypatch):
    """The peer closes idle connections later, so it does not close one during a request."""
    monkeypatch.setattr(connections, "MAX_IDLE", 1)
    with closing(Adapter()) as adapter:
        for _ in range(3):
            adapter.send(prepared(peer.url), timeout=LONG)
        assert peer.connections == 1
        time.sleep(2.5)
        adapter.send(prepared(peer.url), timeout=LONG)
    assert peer.connections == 2


def test_an_old_connection_is_replaced(peer, monkeypatch):
    monkeypatch.setattr(connections, "MAX_AGE", 1)
    with closing(Adapter()) as adapter:
        until(lambda: adapter.send(prepared(peer.url), timeout=LONG) and peer.connections == 2)
    assert len(peer.requests) > 2


# Threads and processes


def test_threads_never_get_each_others_answers(peer, adapter):
    peer.will(echoes)

    def calls(name):
        paths = [f"/{name}/{number}" for number in range(100)]
        return [adapter.send(prepared(peer.url + path), timeout=LONG).json()["path"] for path in paths] == paths

    assert at_once([lambda name=name: calls(name) for name in range(16)]) == [True] * 16
    assert peer.connections == 16


def test_the_connections_of_a_thread_end_with_it(peer, adapter):
    barrier = threading.Barrier(5)

    def calls():
        adapter.send(prepared(peer.url), timeout=LONG)
        barrier.wait(LONG)

    threads = [threading.Thread(target=calls) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(peer.requests) == 4)
    assert peer.open_connections == 4
    barrier.wait(LONG)
    for thread in threads:
        thread.join()
    until(lambda: peer.open_connections == 0)


def test_a_closed_adapter_has_no_connections_and_opens_new_ones(peer, adapter):
    adapter.send(prepared(peer.url), timeout=LONG)
    adapter.close()
    until(lambda: peer.open_connections == 0)
    assert adapter.send(prepared(peer.url), timeout=LONG).status_code == 200


def test_a_child_process_does_not_use_its_parents_connections(peer, adapter):
    peer.will(echoes)

    def calls(name):
        paths = [f"/{name}/{number}" for number in range(100)]
        return [adapter.send(prepared(peer.url + path), timeout=LONG).json()["path"] for path in paths] == paths

    assert calls("before")
    children = []
    for name in ("one", "two"):
        pid = os.fork()
        if not pid:
            is_right = False
            try:
                is_right = calls(name)
            finally:
                os._exit(0 if is_right else 1)
        children.append(pid)
    assert calls("parent")
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
    assert calls("after")
    assert [request.connection for request in peer.requests if "parent" in request.path] == [1] * 100
    assert peer.connections == 3


# Time


def test_interim_answers_that_trickle_end_in_time(peer, send):
    """`test_engine.py` has the other ways to trickle."""
    peer.will(trickles(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 100, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    with pytest.raises(requests.Timeout):
        send(timeout=0.3)


def test_a_peer_that_does_not_read_ends_in_time(peer, send):
    peer.dawdle = 10.0
    with pytest.raises(requests.Timeout):
        send("PUT", body=bytes(64_000_000), timeout=0.5)


def is_free(address):
    try:
        socket.create_server(address).close()
    except OSError:
        return False
    return True


@pytest.fixture
def named(monkeypatch):
    """Lets ``peer.test`` have these addresses."""

    def named(port, *addresses):
        entry = f"peer.test:{port}:{','.join(addresses)}"
        monkeypatch.setitem(connections._OPTIONS, pycurl.RESOLVE, [entry])
        return f"http://peer.test:{port}/"

    return named


@pytest.fixture
def silent():
    """A port that is silent at several addresses."""
    with ExitStack() as resources:
        first = resources.enter_context(socket.socket())
        first.bind(("127.0.0.2", 0))
        port = first.getsockname()[1]
        first.close()
        for last in range(2, 8):
            resources.enter_context(servers.frozen((f"127.0.0.{last}", port)))
        yield port


def test_addresses_that_drop_packets_share_one_deadline(named, silent):
    """Each address alone would use up the whole time."""
    url = named(silent, *(f"127.0.0.{last}" for last in range(2, 8)))
    began = time.monotonic()
    with closing(Adapter()) as adapter, pytest.raises(NotConnected):
        adapter.send(prepared(url), timeout=2.0)
    assert time.monotonic() - began < 10


def test_a_reachable_address_is_found_after_unreachable_ones(named, peer):
    url = named(peer.port, "127.0.0.2", "127.0.0.3", "127.0.0.1")
    with closing(Adapter()) as adapter, servers.frozen(("127.0.0.2", peer.port)):
        assert adapter.send(prepared(url), timeout=LONG).status_code == 200


SLOW_RESOLVER = """
#include <netdb.h>
#include <unistd.h>
int getaddrinfo(const char *n, const char *s, const struct addrinfo *h, struct addrinfo **r) {
    sleep(600);
    return EAI_AGAIN;
}
"""
CALL_BY_NAME = """
import requests
from platform_core.clients.connections import Adapter, NotConnected
request = requests.PreparedRequest()
request.method, request.url, request.headers, request.body = "GET", "http://peer.test/", {}, None
adapter = Adapter()
for _ in range(2):
    try:
        adapter.send(request, timeout=0.3)
    except NotConnected as error:
        print("not connected")
adapter.close()
print("closed")
"""


@pytest.mark.skipif(not (shutil.which("cc") and sys.platform == "linux"), reason="makes a slow resolver in C")
def test_slow_name_resolution_ends_in_time_and_nothing_waits_for_it_afterwards(tmp_path):
    (tmp_path / "slow.c").write_text(SLOW_RESOLVER)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "slow.so", "slow.c"], cwd=tmp_path, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "slow.so"), "PYTHONPATH": str(Path.cwd())}
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CALL_BY_NAME)],
        env=environment, capture_output=True, text=True, timeout=LONG, check=False,
    )  # fmt: skip
    assert ran.stdout.split("\n") == ["not connected", "not connected", "closed", ""], ran.stderr


# TLS and IPv6


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """For 127.0.0.1, signed by itself; the file has its key, too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
    today = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "peer.pem"
    path.write_bytes(built.public_bytes(pem) + private)
    return str(path)


@pytest.fixture
def secure(certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with servers.serving(tls=tls) as server:
        yield server


def test_an_unknown_certificate_is_refused(secure, adapter):
    with pytest.raises(NotConnected):
        adapter.send(prepared(secure.url, "POST", body=b"secret"), timeout=LONG)
    assert secure.requests == []


def test_a_certificate_for_another_name_is_refused(secure, adapter, certificate):
    url = secure.url.replace("127.0.0.1", "localhost")
    with pytest.raises(NotConnected):
        adapter.send(prepared(url, "POST", body=b"x"), timeout=LONG, verify=certificate)
    assert secure.requests == []


def test_a_tls_connection_is_kept_and_replaced_like_any_other(secure, adapter, certificate):
    for _ in range(3):
        assert adapter.send(prepared(secure.url), timeout=LONG, verify=certificate).status_code == 200
    assert secure.connections == 1
    secure.drop_connections()
    assert adapter.send(prepared(secure.url, "POST"), timeout=LONG, verify=certificate).status_code == 200
    assert secure.connections == 2


def test_the_certificates_of_certifi_are_trusted_unless_others_are_named(secure, adapter, certificate, monkeypatch):
    monkeypatch.setattr(connections, "where", lambda: certificate)
    assert adapter.send(prepared(secure.url), timeout=LONG).status_code == 200
    with pytest.raises(NotConnected):
        adapter.send(prepared(secure.url), timeout=LONG, verify=certifi.where())


def test_a_peer_that_is_silent_before_tls_ends_in_time(adapter):
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(NotConnected):
        adapter.send(prepared(f"https://127.0.0.1:{listener.getsockname()[1]}/"), timeout=0.3)


def test_ipv6(adapter):
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with servers.serving(listener=listener) as server:
        assert adapter.send(prepared(f"http://[::1]:{server.port}/"), timeout=LONG).status_code == 200
