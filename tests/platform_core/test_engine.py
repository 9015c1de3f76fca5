"""Calls to peers, over real sockets."""

import os
import socket
import threading
import time

import pycurl
import pytest

from platform_core.clients import connections
from platform_core.clients.breaker import State
from platform_core.clients.engine import call, decoded
from platform_core.clients.errors import (
    CallerRefused,
    PeerConnectionFailed,
    PeerConnectTimeout,
    PeerDropped,
    PeerFailed,
    PeerRefused,
    PeerTimeout,
    PeerUnreachable,
)
from platform_core.clients.feeds import read_feed
from platform_core.clients.notifications import send_notification
from platform_core.clients.peers import peer_state
from platform_core.clients.products import release_stock, reserve_stock
from platform_core.clients.users import User, get_user
from platform_core.http import context
from platform_core.http.context import Context, entered
from platform_core.http.errors import DeadlineExceeded
from tests import servers
from tests.servers import answers, hangs_up, keeps_silent, resets, says, trickles
from tests.wire import garbage_of

HTML = b"<html><body>502 Bad Gateway</body></html>"


@pytest.fixture
def peer():
    with servers.serving() as server:
        yield server


@pytest.fixture(autouse=True)
def at_the_peer(settings, peer):
    settings.PEER_URLS = dict.fromkeys(settings.PEER_URLS, peer.url)


def ask(method="GET", path="/", **kwargs):
    return call("user-service", method, path, **kwargs)


def within(seconds: float):
    return entered(Context(deadline=time.monotonic() + seconds))


SLOW = {
    "silence": keeps_silent,
    "headers that trickle": trickles(b"HTTP/1.1 200 OK\r\n", b"X-Drop: 1\r\n", 40, b"Content-Length: 0\r\n\r\n", 0.1),
    "a status line that trickles": trickles(b"HTTP/1.1 200 ", b"O", 40, b"K\r\nContent-Length: 0\r\n\r\n", 0.1),
    "a body that trickles": trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n", b" ", 40, pause=0.1),
    "chunks that trickle": trickles(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 40, b"0\r\n\r\n", 0.1
    ),
    "a body without a length that trickles": trickles(b"HTTP/1.1 200 OK\r\n\r\n", b" ", 40, pause=0.1),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_the_time_given_covers_the_whole_exchange(peer, answer):
    peer.will(answer)
    with pytest.raises(PeerTimeout):
        ask(timeout=0.4)


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
def test_the_requests_deadline_covers_the_whole_exchange(peer, answer):
    peer.will(answer)
    with within(0.4), pytest.raises(PeerTimeout):
        ask()


def test_a_call_leaves_the_request_time_to_say_that_the_peer_is_slow(peer):
    peer.will(keeps_silent)
    with within(0.5):
        with pytest.raises(PeerTimeout):
            ask()
        assert context.remaining() > 0


def test_a_request_past_its_deadline_calls_no_peer(peer):
    with within(-1), pytest.raises(DeadlineExceeded):
        ask()
    assert not peer.requests


def test_a_large_body_has_the_time_of_its_own_call(peer):
    """A kept-alive socket remembers the timeout of its last read."""
    ask(timeout=0.2)
    peer.dawdle = 0.3
    body = {"text": "x" * 8_000_000}
    assert ask("PUT", body=body).status == 200
    assert peer.requests[-1].json == body
    assert peer.connections == 1


@pytest.mark.parametrize("body", [None, {"a": 1}])
def test_the_remaining_time_is_sent_to_the_peer(peer, body):
    ask("PUT", body=body, timeout=2.5)
    with within(1.0):
        ask("PUT", body=body)
    seconds = [float(request.headers["X-Request-Timeout"]) for request in peer.requests]
    assert 0 < seconds[0] <= 2.5
    assert 0 < seconds[1] <= 1.0


def test_the_requests_id_and_trace_are_handed_on(peer):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with entered(Context(request_id="abc-1", traceparent=trace)):
        ask()
    assert peer.requests[0].headers["X-Request-ID"] == "abc-1"
    assert peer.requests[0].headers["traceparent"] == trace


def test_without_a_request_no_id_is_made_up(peer):
    ask()
    assert "X-Request-ID" not in peer.requests[0].headers
    assert "traceparent" not in peer.requests[0].headers


def test_the_service_names_itself_and_wants_json(peer):
    ask("POST", key="k-1", body={"price": 1})
    headers = peer.requests[0].headers
    assert headers["User-Agent"].startswith("order-service/")
    assert headers["Accept"] == headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == "k-1"


def test_proxy_variables_of_the_environment_are_ignored(peer, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, servers.refused_url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert ask().status == 200


def test_passwords_of_a_netrc_are_not_sent(peer, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    ask()
    assert "Authorization" not in peer.requests[0].headers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_2xx_is_an_answer(peer, status):
    peer.will(answers({"a": 1} if status != 204 else None, status))
    assert ask().status == status


def test_a_4xx_is_a_refusal_with_the_peers_own_words(peer):
    errors = [{"field": "items[0]", "code": "insufficient_stock", "productId": "1", "available": 0}]
    problem = {"status": 409, "code": "insufficient_stock", "detail": "Too few.", "errors": errors}
    peer.will(answers(problem, 409, {"Content-Type": "application/problem+json"}))
    with pytest.raises(PeerRefused) as refusal:
        ask()
    assert (refusal.value.status, refusal.value.code, refusal.value.errors) == (409, "insufficient_stock", errors)
    assert refusal.value.detail == "Too few."


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b'{"code": "\xff"}', b'{"code": 1}'])
def test_a_4xx_without_a_problem_is_a_refusal_without_a_code(peer, body):
    peer.will(answers(body, 422))
    with pytest.raises(PeerRefused) as refusal:
        ask()
    assert (refusal.value.status, refusal.value.code) == (422, "unknown")


def problem(status, code, type_="about:blank", errors=()):
    body = {"type": type_, "status": status, "code": code, "detail": "Because.", "errors": errors}
    return answers(body, status, {"Content-Type": "application/problem+json"})


REFUSED_CALLER = {
    "401": problem(401, "not_authenticated"),
    "403": problem(403, "permission_denied"),
    "405": problem(405, "method_not_allowed"),
    "400 about the host": problem(400, "invalid", errors=[{"field": "Host", "code": "unknown_host", "detail": "No."}]),
    "403 of a proxy": answers(HTML, 403, {"Content-Type": "text/html"}),
    "404 of an unknown path": problem(404, "not_found", "/problems/unknown-path"),
    "404 of a proxy": answers(HTML, 404, {"Content-Type": "text/html; charset=utf-8"}),
    "404 of another program": answers({"detail": "Not Found"}, 404),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", REFUSED_CALLER)
def test_a_refusal_of_the_caller_is_no_refusal_of_the_request(peer, name, api):
    peer.will(REFUSED_CALLER[name])
    with pytest.raises(CallerRefused) as refusal:
        ask()
    assert refusal.value.status == int(name[:3])
    assert len(peer.requests) == 1
    check = api.get("/health").json()["checks"]["user-service"]
    misdirected = {"400": "does not serve the host name", "404": "has no such route", "405": "has no such route"}
    what = misdirected.get(name[:3], "refuses order-service's credentials")
    assert (check["status"], check["breaker"]) == ("degraded", "closed")
    assert check["detail"].startswith(f"user-service {what}")
    peer.will(answers({}))
    ask()
    assert api.get("/health").json()["checks"]["user-service"] == {"status": "ok", "breaker": "closed"}


def test_only_a_problem_of_ours_says_that_something_does_not_exist(peer):
    peer.will(problem(404, "not_found"))
    with pytest.raises(PeerRefused) as refusal:
        ask()
    assert (refusal.value.status, refusal.value.code) == (404, "not_found")


def test_a_401_about_a_persons_password_is_about_the_request(peer):
    peer.will(problem(401, "invalid_credentials"))
    with pytest.raises(PeerRefused) as refusal:
        ask()
    assert refusal.value.code == "invalid_credentials"


FAILURES = {
    "500": answers({"code": "internal_error", "detail": "Oops."}, 500),
    "503": answers({"code": "unavailable", "detail": "No database."}, 503, {"Retry-After": "1"}),
    "502 in HTML of a proxy": answers(HTML, 502, {"Content-Type": "text/html"}),
    "409 in HTML of a proxy": answers(HTML, 409, {"Content-Type": "text/html; charset=utf-8"}),
    "a redirect": answers(b"", 302, {"Location": "http://127.0.0.1:1/"}),
    "a permanent redirect": answers(b"", 301, {"Location": "/elsewhere"}),
    "304": answers(b"", 304),
}


@pytest.mark.parametrize("name", FAILURES)
def test_other_statuses_are_failures_and_temporary_ones_are_retried(peer, name):
    peer.will(FAILURES[name])
    with pytest.raises(PeerFailed):
        ask()
    assert len(peer.requests) == (2 if name[:3] in ("502", "503") else 1)


BROKEN = {
    "no HTTP": says(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a status that is no number": says(b"HTTP/1.1 abc OK\r\n\r\n"),
    "half a body": says(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": '),
    "half a chunk": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"),
    "a chunk of no size": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "a body that is not gzip": answers(b"{}", headers={"Content-Encoding": "gzip"}),
    "headers without end": says(b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 2000),
    "a header line without end": says(b"HTTP/1.1 200 OK\r\nX: " + b"1" * 100_000),
    "a length that is no number": says(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"),
    "nothing": hangs_up,
    "a reset": resets,
    "another protocol": says(b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
    "a status below all": says(b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\n{}"),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_an_incomplete_response_counts_as_unreachable(peer, answer):
    peer.will(answer)
    with pytest.raises(PeerUnreachable):
        get_user(1)


WHOLE = {
    "of a length": says(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"id": "1"}'),
    "in chunks": says(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{"id": \r\n4\r\n"1"}\r\n0\r\n\r\n'),
    "until the connection ends": says(b'HTTP/1.1 200 OK\r\n\r\n{"id": "1"}'),
    "of HTTP/1.0": says(b'HTTP/1.0 200 OK\r\n\r\n{"id": "1"}'),
    "behind an interim one": says(
        b'HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: none\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{"id": "1"}'
    ),
    "in pieces": trickles(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 11\r", 1, b'\n\r\n{"id": "1"}'),
}


@pytest.mark.parametrize("answer", WHOLE.values(), ids=WHOLE)
def test_an_answer_is_read_to_its_end(peer, answer):
    peer.will(answer)
    assert (ask().status, ask().content) == (200, b'{"id": "1"}')


def test_trailers_are_not_headers(peer):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: 1\r\n\r\n"
    peer.will(says(chunked + b"2\r\n{}\r\n0\r\nETag: 2\r\nX-More: 1\r\n\r\n"))
    answer = ask()
    assert (answer.content, answer.headers["ETag"], answer.headers.get("X-More")) == (b"{}", "1", None)


@pytest.mark.parametrize(
    "more", [b"{}", b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"id": "2"}', b"HTTP/1.1 500 X\r\n"]
)
@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_bytes_after_a_response_are_discarded(peer, more, close):
    def answer(wire, request):
        wire.send(b"HTTP/1.1 200 OK\r\n" + close + b'Content-Length: 11\r\n\r\n{"id": "1"}' + more)
        return True

    peer.will(answer, answers({"id": "3"}))
    assert (ask().content, ask().content) == (b'{"id": "1"}', b'{"id": "3"}')
    assert peer.connections == 2


@pytest.mark.parametrize("head", [b"", b"Content-Length: 498\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_response_bodies_are_bounded(peer, monkeypatch, head):
    peer.will(says(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + b"1\r\n \r\n" * 83 + b"0\r\n\r\n"))
    assert len(ask().content) in (83, 498, 503)
    monkeypatch.setattr(connections, "MAX_BODY", 82)
    with pytest.raises(PeerUnreachable, match="no whole answer"):
        ask()


def test_response_heads_are_bounded(peer):
    for count in (1000, 60_000):
        peer.will(says(b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * count + b"Content-Length: 2\r\n\r\n{}"))
        if count == 1000:
            assert ask().content == b"{}"
        else:
            with pytest.raises(PeerDropped):
                ask()


def test_a_refused_connection_means_that_the_peer_saw_nothing(settings):
    settings.PEER_URLS = {"user-service": servers.refused_url()}
    with pytest.raises(PeerConnectionFailed):
        ask()


@pytest.mark.parametrize(("seconds", "opens"), [(0.05, False), (1.3, True)])
def test_only_a_connect_timeout_of_a_second_or_more_counts_for_the_breaker(settings, seconds, opens):
    """A client with a tiny deadline must not cut off the peer for all others."""
    with socket.socket() as port:
        port.bind(("127.0.0.3", 0))
        address = port.getsockname()
    settings.PEER_URLS = {"user-service": f"http://{address[0]}:{address[1]}"}
    breaker = peer_state("user-service").breaker
    with servers.frozen(address):
        for _ in range(6):
            if breaker.state is State.CLOSED:
                with within(seconds), pytest.raises(PeerConnectTimeout):
                    ask()
    assert (breaker.state is not State.CLOSED) == opens


def test_an_unresolved_name_counts_like_a_closed_port(settings):
    settings.PEER_URLS = {"user-service": "http://nowhere.invalid:80"}
    with pytest.raises(PeerConnectionFailed):
        ask()


NOT_A_USER = [b"not json", HTML, b"[]", b"null", b"", b'{"id": "1"}', b'{"id": 1}', b"\xff", b'{"id": "\xff"}']


@pytest.mark.parametrize("body", NOT_A_USER)
def test_a_2xx_that_breaks_the_contract_is_a_failure(peer, body):
    peer.will(answers(body))
    with pytest.raises(PeerFailed):
        decoded("user-service", ask(), User)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rb", "a\r\n\r\nGET / HTTP/1.1"])
def test_no_header_makes_another_one(peer, value):
    with pytest.raises(PeerUnreachable):
        ask(headers={"X-Note": value})
    assert peer.requests == []


def test_a_connection_is_used_again(peer):
    for _ in range(3):
        ask()
    assert peer.connections == 1


def test_a_connection_is_used_again_after_a_refusal(peer):
    peer.will(answers({"code": "conflict"}, 409), answers({}))
    with pytest.raises(PeerRefused):
        ask()
    ask()
    assert peer.connections == 1


def test_a_connection_whose_answer_was_not_read_to_the_end_is_not_used_again(peer):
    """The rest of the late response would be read as the next response."""
    late = trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"{", 1, b"}", pause=1.0)
    peer.will(late, answers({"id": "2"}))
    with pytest.raises(PeerTimeout):
        ask(timeout=0.2)
    assert ask("POST").content == b'{"id": "2"}'  # it would not be asked again
    assert peer.connections == 2


@pytest.mark.parametrize("header", [{"Connection": "close"}, {"Connection": "Keep-Alive, Close"}])
def test_a_connection_that_the_peer_will_close_is_not_used_again(peer, header):
    peer.will(answers({}, headers=header), answers({}))
    ask("POST")
    ask("POST")
    assert peer.connections == 2


OF_A_CALL = {"_Answer", "Response", "PreparedRequest"}


def test_a_call_leaves_nothing_to_the_garbage_collector(peer):
    assert not OF_A_CALL & set(garbage_of(lambda: ask("POST", body={"a": 1}, key="k")))


def test_an_unsent_call_leaves_nothing_to_the_garbage_collector(peer, monkeypatch):
    def breaks(handle):
        descriptor = handle._curl.getinfo(pycurl.ACTIVESOCKET)
        if descriptor >= 0:
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                sock.shutdown(socket.SHUT_RDWR)
        return False

    monkeypatch.setattr(connections._Handle, "_needs_connection", breaks)

    def call():
        ask()
        with pytest.raises(PeerDropped):
            ask("POST")

    assert not OF_A_CALL & set(garbage_of(call))


def test_threads_do_not_wait_for_each_others_calls(peer):
    """Both are under way before either is answered."""
    both = threading.Barrier(2, timeout=10)

    def meets(wire, request):
        both.wait()
        return answers({})(wire, request)

    peer.will(meets)
    found = []
    threads = [threading.Thread(target=lambda: found.append(ask().status)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200, 200]


def test_a_restarted_peer_is_reached_over_a_new_connection(peer):
    ask()
    peer.drop_connections()
    assert ask("POST", body={}).status == 200


@pytest.mark.parametrize("drop", [hangs_up, resets])
@pytest.mark.parametrize("method, key", [("GET", None), ("PUT", None), ("DELETE", None), ("POST", "k-1")])
def test_a_dropped_connection_is_replaced_when_repeating_is_harmless(peer, drop, method, key):
    peer.will(answers({}), drop, answers({"second": True}))
    ask()
    body = {} if method != "GET" else None
    assert ask(method, body=body, key=key).content == b'{"second": true}'
    assert [request.method for request in peer.requests] == ["GET", method, method]
    assert peer.requests[1].headers.get("Idempotency-Key") == key == peer.requests[2].headers.get("Idempotency-Key")


@pytest.mark.parametrize("drop", [hangs_up, resets])
def test_a_dropped_connection_is_replaced_once(peer, drop):
    peer.will(drop)
    with pytest.raises(PeerDropped):
        ask()
    assert len(peer.requests) == 2


@pytest.mark.parametrize("drop", [hangs_up, resets])
def test_a_post_without_a_key_is_not_repeated(peer, drop):
    peer.will(answers({}), drop)
    ask()
    with pytest.raises(PeerDropped):
        ask("POST", body={})
    assert [request.method for request in peer.requests] == ["GET", "POST"]


@pytest.mark.parametrize(
    "answer",
    [
        keeps_silent,
        answers({}, 500),
        answers({}, 429),
        says(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": '),
    ],
)
def test_other_failures_are_not_retried(peer, answer):
    peer.will(answer)
    with pytest.raises((PeerUnreachable, PeerRefused)):
        ask(timeout=0.3)
    assert len(peer.requests) == 1


def test_the_second_try_has_only_what_is_left_of_the_time(peer):
    def hangs_up_late(wire, request):
        wire.patient(0.2)

    peer.will(hangs_up_late, answers({}))
    ask(timeout=1.0)
    first, second = (float(request.headers["X-Request-Timeout"]) for request in peer.requests)
    assert second < first


def reservation(items, status=201):
    return answers({"orderId": "7", "status": "reserved", "items": items}, status)


def line(product_id="1", quantity=2, price=19.99):
    return {"productId": product_id, "name": "Lamp", "unitPrice": price, "quantity": quantity}


@pytest.mark.parametrize("price", ["0.1", "19.99", "9999999999.99", "0", "5"])
def test_prices_arrive_exact(peer, price):
    item = f'{{"productId": "1", "name": "x", "unitPrice": {price}, "quantity": 2}}'
    peer.will(answers(f'{{"orderId": "7", "status": "reserved", "items": [{item}]}}'.encode()))
    (item,) = reserve_stock(7, {1: 2}).items
    assert str(item.unit_price) == price


@pytest.mark.parametrize("items", [[], [line("2")], [line(), line("2")], [line(quantity=1)]])
def test_a_reservation_of_something_else_is_no_answer(peer, items):
    peer.will(reservation(items))
    with pytest.raises(PeerFailed):
        reserve_stock(7, {1: 2})


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'[{"id": "\xff"}]', b'[{"data": ' + b"[" * 100_000, HTML])
def test_an_unreadable_feed_is_a_failure(peer, body):
    peer.will(answers(body))
    with pytest.raises(PeerFailed):
        read_feed("user-service", "")


@pytest.mark.parametrize("answer", [answers(HTML, 200, {"Content-Type": "text/html"}), answers({}, 202)])
def test_only_a_204_means_that_stock_was_given_back(peer, answer):
    peer.will(answer)
    with pytest.raises(PeerFailed):
        release_stock(7)


@pytest.mark.parametrize("answer", [answers(HTML, 200, {"Content-Type": "text/html"}), answers({}, 202)])
def test_only_a_201_means_that_a_message_was_taken(peer, answer):
    peer.will(answer)
    with pytest.raises(PeerFailed):
        send_notification("k-1", user_id=1, type="t", subject="s", message="m")
