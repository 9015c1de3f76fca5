"""Files that are uploaded to the admin of product-service: large ones, too large ones, and broken connections."""

import os
import re
import socket
from typing import Any

import pytest
import requests

from platform_core.topology import PRODUCT
from tests.e2e.stack import Stack, eventually, slow

UPLOAD = "/admin/product_svc/product/files/upload/"
MIB = 2**20


class Desk:
    """The admin of product-service in a browser without scripts."""

    def __init__(self, stack: Stack, password: str) -> None:
        self.stack, self.session = stack, requests.Session()
        self.session.trust_env = False
        self.session.headers.update({"Referer": stack.direct(PRODUCT, "/admin/"), "Accept": "text/html"})
        self.get("/admin/login/?local")
        self.post("/admin/login/?local&next=/admin/", data={"username": "files@example.com", "password": password})

    def get(self, path: str) -> str:
        return self.session.get(self.stack.direct(PRODUCT, path), timeout=60).text

    def post(self, path: str, data: dict[str, str] | None = None, **kwargs: Any) -> requests.Response:
        form = {**(data or {}), "csrfmiddlewaretoken": self.session.cookies["product_csrf"]}
        return self.session.post(self.stack.direct(PRODUCT, path), data=form, timeout=120, **kwargs)

    def jobs(self) -> list[str]:
        return re.findall(r"/admin/jobs/job/(\d+)/change/", self.get("/admin/jobs/job/"))


@pytest.fixture(scope="module")
def desk(stack: Stack) -> Desk:
    made = stack.run("user_svc", "make_staff", "files@example.com", "--role", "admin")
    return Desk(stack, made.stdout.split()[-1])


def catalog(size: int) -> bytes:
    """A CSV file of this size, of products with long descriptions."""
    head, row = b"sku,name,price,stock,description\n", b"%s-%07d,Lamp,1.50,2," + b"x" * 1900 + b"\n"
    mark = os.urandom(4).hex().encode()
    rows = b"".join(row % (mark, n) for n in range(size // len(row % (mark, 0))))
    return head + rows + b"\n" * (size - len(head) - len(rows))


def memory(stack: Stack) -> int:
    """The largest memory of a process of product-service, in bytes."""
    named = [process for process in stack.processes() if "product-service" in " ".join(process.cmdline())]
    assert named
    return max(process.memory_info().rss for process in named)


def test_64_mib_are_uploaded_and_previewed_without_being_held_in_memory(stack: Stack, desk: Desk) -> None:
    """A process that held the whole body and its form would grow by twice the file."""
    content = catalog(64 * MIB)
    before = memory(stack)
    answer = desk.post(UPLOAD, files={"file": ("large.csv", content)})
    assert answer.status_code == 200 and "/admin/jobs/job/" in answer.url, answer.text[-500:]
    peak = before

    def ended() -> bool:
        nonlocal peak
        peak = max(peak, memory(stack))
        return "data-unfinished" not in desk.get(answer.request.path_url)

    eventually("the preview has ended", ended, 300)
    page = desk.get(answer.request.path_url)
    assert f"{content.count(b'Lamp'):,} new" in page
    assert peak - before < 120 * MIB, f"{(peak - before) / MIB:.0f} MiB"


@pytest.mark.parametrize("size", [64 * MIB + 1, slow(65 * MIB), slow(80 * MIB)])
def test_a_larger_file_is_refused_with_a_page_that_says_so(desk: Desk, size: int) -> None:
    known = desk.jobs()
    answer = desk.post(UPLOAD, files={"file": ("large.csv", b"x" * size)})
    assert answer.status_code in (400, 413)
    assert "larger than 64 MiB" in answer.text
    assert desk.jobs() == known


@pytest.mark.parametrize("path", ["/admin/product_svc/product/add/", "/api/products"])
def test_all_other_bodies_are_bounded_as_before(desk: Desk, path: str) -> None:
    assert desk.post(path, files={"file": ("large.csv", b"x" * 2 * MIB)}).status_code == 413


def test_an_upload_that_breaks_off_leaves_nothing(stack: Stack, desk: Desk) -> None:
    known = desk.jobs()
    cookies = "; ".join(f"{name}={value}" for name, value in desk.session.cookies.items())
    head = (
        f"POST {UPLOAD} HTTP/1.1\r\nHost: 127.0.0.1:{stack.ports['product_svc']}\r\nCookie: {cookies}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {40 * MIB}\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    )
    with socket.create_connection(("127.0.0.1", stack.ports["product_svc"])) as connection:
        connection.sendall(head.encode() + b"x" * 10 * MIB)
        eventually("pieces are stored", lambda: len(desk.jobs()) > len(known))
    eventually("they are gone", lambda: desk.jobs() == known)


def test_a_stranger_is_sent_to_the_sign_in_without_uploading(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.ports["product_svc"]), timeout=30) as connection:
        connection.sendall(
            f"POST {UPLOAD} HTTP/1.1\r\nHost: 127.0.0.1:{stack.ports['product_svc']}\r\n"
            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {60 * MIB}\r\n\r\n--b\r\n".encode()
        )
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 302")
