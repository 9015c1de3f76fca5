"""The body of an upload: it is read as it arrives, and no wait for it is without an end."""

import socket
import time

import pytest

from platform_core.http import request_body
from platform_core.http.request_body import BEGAN, UPLOAD, Upload, upload_of

PATH = "/admin/files/"


@pytest.fixture
def pair():
    """The client's and the server's end of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(20)
        yield ours, theirs


def environ_of(sock, length, **changes):
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": PATH,
        "CONTENT_LENGTH": str(length),
        "wsgi.input": sock.makefile("rb"),
        "gunicorn.socket": sock,
        BEGAN: time.monotonic(),
        **changes,
    }


def test_a_body_is_read_piece_by_piece_until_its_end(pair):
    client, server = pair
    environ = environ_of(server, 10)
    upload = upload_of(environ, [PATH])
    assert environ["wsgi.input"] is environ[UPLOAD] is upload
    client.sendall(b"0123456789next request")
    assert (upload.read(4), upload.is_whole, upload.read(100), upload.is_whole) == (b"0123", False, b"456789", True)
    assert upload.read(10) == upload.read() == b"", "what follows belongs to the next request"


@pytest.mark.parametrize(
    "changes",
    [
        {"REQUEST_METHOD": "PUT"},
        {"PATH_INFO": PATH + "x"},
        {"CONTENT_LENGTH": ""},
        {"CONTENT_LENGTH": "ten"},
        {"CONTENT_LENGTH": "\u0661"},
        {"CONTENT_LENGTH": "9" * 16},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
    ],
    ids=str,
)
def test_other_requests_are_no_uploads(pair, changes):
    environ = environ_of(pair[1], 10, **changes)
    assert upload_of(environ, [PATH]) is None and UPLOAD not in environ


def test_a_client_that_stops_sending_is_given_up_at_the_deadline(pair, monkeypatch):
    client, server = pair
    monkeypatch.setattr(request_body, "UPLOAD_SECONDS", 0.3)
    upload = upload_of(environ_of(server, 10), [PATH])
    client.sendall(b"01")
    with pytest.raises(ConnectionAbortedError, match="did not arrive in time"):
        upload.read(10)
    assert not upload.is_whole


def test_a_client_that_trickles_is_given_up_at_the_same_deadline(pair, monkeypatch):
    client, server = pair
    monkeypatch.setattr(request_body, "UPLOAD_SECONDS", 0.5)
    upload = upload_of(environ_of(server, 10_000), [PATH])
    with pytest.raises(ConnectionAbortedError, match="did not arrive in time"):  # noqa: PT012
        for _ in range(200):  # two seconds: four times the deadline
            client.sendall(b"x")
            upload.read(1)
            time.sleep(0.01)


def test_a_client_that_goes_away_is_noticed(pair):
    client, server = pair
    upload = upload_of(environ_of(server, 10), [PATH])
    client.sendall(b"01")
    client.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionAbortedError, match="broken off"):
        upload.read(10)


def test_the_rest_of_a_refused_upload_is_read_within_bounds(pair):
    client, server = pair
    upload = Upload(environ_of(server, 10), 10, time.monotonic() + 60)
    client.sendall(b"0123456789")
    upload.discard(5.0)
    assert upload.is_whole
    upload = Upload(environ_of(server, 10), 10, time.monotonic() + 60)
    client.sendall(b"01")
    upload.discard(0.3)
    assert not upload.is_whole


def test_a_line_ends_where_it_ends(pair):
    client, server = pair
    upload = Upload(environ_of(server, 8), 8, time.monotonic() + 60)
    client.sendall(b"ab\ncdefg")
    assert [upload.readline(), upload.readline(2), upload.readline(), upload.readline()] == [
        b"ab\n",
        b"cd",
        b"efg",
        b"",
    ]
