import pytest
from django.test import RequestFactory

from platform_core.http.links import link, public_url
from platform_core.topology import ORDER, SERVICES, USER

PEERS = {service.name: f"http://127.0.0.1:{service.port}" for service in SERVICES}


@pytest.fixture(autouse=True)
def urls(settings):
    settings.PEER_URLS = PEERS
    settings.PUBLIC_URLS = {service.name: "" for service in SERVICES}
    settings.ALLOWED_HOSTS = ["*"]
    settings.PLATFORM_ENV = "development"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:8001", "http://localhost:8003"),
        ("127.0.0.1:8001", "http://127.0.0.1:8003"),
        ("shop.local", "http://shop.local:8003"),
        ("[::1]:8001", "http://[::1]:8003"),
    ],
)
def test_in_development_links_keep_the_host_that_the_browser_asked_for(host, expected):
    assert public_url(ORDER, RequestFactory().get("/", HTTP_HOST=host)) == expected


def test_a_public_url_wins(settings):
    settings.PUBLIC_URLS = {**settings.PUBLIC_URLS, "order-service": "https://orders.example.com"}
    request = RequestFactory().get("/", HTTP_HOST="localhost:8001")

    assert link(ORDER, "/orders/7/", request) == "https://orders.example.com/orders/7/"
    assert link(USER, "/admin/", request) == "http://localhost:8001/admin/"


def test_in_production_the_host_of_a_request_is_in_no_link(settings):
    settings.PLATFORM_ENV = "production"

    assert public_url(ORDER, RequestFactory().get("/", HTTP_HOST="evil.example")) == "http://127.0.0.1:8003"
