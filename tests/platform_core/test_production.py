"""Production starts only with secure settings and names all insecure ones."""

import json
import subprocess
import sys

import pytest
from django.conf import settings as django_settings

from platform_core.auth.keys import new_key
from platform_core.conf import production
from platform_core.conf.environment import DEVELOPMENT_KEY, EXIT_CODE, ROOT, ConfigurationError
from platform_core.topology import ORDER, SERVICES, USER
from tests import people
from tests.suites import plain_environment
from tests.wire import assert_problem

SECRET = "0123456789abcdefghijklmnopqrstuvwxyz-0123456789-and-more"


@pytest.fixture
def fine(settings):
    """Settings that production accepts."""
    settings.PLATFORM_ENV = "production"
    settings.DEBUG = False
    settings.HOSTS_ARE_GIVEN = settings.DATABASE_IS_GIVEN = True
    settings.ALLOWED_HOSTS = ["shop.example.com", "127.0.0.1"]
    settings.CORS_ALLOW_ALL_ORIGINS = False
    settings.SECRET_KEY = SECRET
    settings.SERVICE_KEY = people.private_service_key("order-service")
    settings.SERVICE_KEYS = people.public_service_keys()
    return settings


def refused() -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        production.check(django_settings)
    assert all(problem.startswith("production refuses ") for problem in error.value.problems)
    return error.value.problems


def test_a_valid_configuration_starts(fine):
    production.check(fine)


@pytest.mark.parametrize(
    "service, url, warned",
    [
        (USER, "http://localhost:3000", True),
        (USER, "https://shop.example.com", False),
        (ORDER, "http://localhost:3000", False),
    ],
)
def test_user_service_warns_of_links_that_lead_to_the_customers_own_machine(fine, caplog, service, url, warned):
    fine.SERVICE, fine.ACCOUNT_LINKS_URL = service, url
    fine.SERVICE_KEY = people.private_service_key(service.name)
    production.check(django_settings)
    assert "mode" not in caplog.text, "what it says is a reason not to start"
    production.warn(django_settings)
    assert ("mode.local_links" in caplog.text) is warned


def without(service: str) -> str:
    keys = json.loads(people.public_service_keys())["keys"]
    return json.dumps({"keys": [key for key in keys if not key["kid"].startswith(service)]})


def with_another_key_under_the_same_id() -> str:
    keys = json.loads(people.public_service_keys())["keys"]
    other = new_key("order-service").as_dict(private=False)["x"]
    return json.dumps({"keys": [{**key, "x": other} if key["kid"].startswith("order") else key for key in keys]})


WRONG = {
    "debug": ({"DEBUG": True}, "DEBUG"),
    "no hosts": ({"HOSTS_ARE_GIVEN": False}, "ALLOWED_HOSTS"),
    "all hosts": ({"ALLOWED_HOSTS": ["shop.example.com", "*"]}, "ALLOWED_HOSTS with *"),
    "all hosts of a kind": ({"ALLOWED_HOSTS": ["*.example.com"]}, "ALLOWED_HOSTS with *"),
    "all origins": ({"CORS_ALLOW_ALL_ORIGINS": True}, "CORS_ALLOWED_ORIGINS"),
    "no database": ({"DATABASE_IS_GIVEN": False}, "DATABASE_URL"),
    "the default secret": ({"SECRET_KEY": DEVELOPMENT_KEY}, "default SECRET_KEY"),
    "a short secret": ({"SECRET_KEY": SECRET[:49]}, "SECRET_KEY of fewer than 50 characters"),
    "a dull secret": ({"SECRET_KEY": "abcabcabc" * 20}, "SECRET_KEY"),
    "no key": ({"SERVICE_KEY": ""}, "without the key of order-service"),
    "a key that is none": ({"SERVICE_KEY": "{}"}, "the key of order-service"),
    "a key that is null": ({"SERVICE_KEY": "null"}, "the key of order-service"),
    "a public key": (
        {"SERVICE_KEY": json.dumps(people.SERVICE_KEYS["order-service"].as_dict(private=False))},
        "the key of order-service",
    ),
    "another service's key": ({"SERVICE_KEY": people.private_service_key("user-service")}, "the key of user-service"),
    "a key that nobody knows": (
        {"SERVICE_KEY": json.dumps(new_key("order-service").as_dict(private=True))},
        "order-service's own present one",
    ),
    "a key that others know otherwise": (
        {"SERVICE_KEYS": with_another_key_under_the_same_id()},
        "order-service's own present one",
    ),
    "no public keys": ({"SERVICE_KEYS": ""}, "keys"),
    "public keys that are none": ({"SERVICE_KEYS": "[]"}, "keys"),
    "an empty key set": ({"SERVICE_KEYS": '{"keys": []}'}, "analytics-service"),
    "a service without a public key": ({"SERVICE_KEYS": without("product")}, "product-service"),
}


@pytest.mark.parametrize("changes, named", WRONG.values(), ids=WRONG)
def test_every_insecure_setting_is_named(fine, changes, named):
    for name, value in changes.items():
        setattr(fine, name, value)
    (problem,) = refused()
    assert named in problem


def test_all_of_them_are_named_at_once(fine):
    fine.DEBUG = fine.CORS_ALLOW_ALL_ORIGINS = True
    fine.HOSTS_ARE_GIVEN = fine.DATABASE_IS_GIVEN = False
    fine.SECRET_KEY, fine.SERVICE_KEY = DEVELOPMENT_KEY, ""
    assert len(refused()) == 6


def test_no_secret_is_shown_when_it_is_refused(fine):
    fine.SECRET_KEY = "a-short-secret"
    fine.SERVICE_KEY = '{"d": "a-private-half"}'
    problems = " ".join(refused())
    assert "a-short-secret" not in problems
    assert "a-private-half" not in problems


def test_development_starts_with_any_setting(fine):
    fine.PLATFORM_ENV = "development"
    fine.DEBUG, fine.SERVICE_KEY = True, ""
    production.check(fine)


# The real start.

GUNICORN = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
WORKER = [sys.executable, "manage.py", "order_svc", "worker"]


def start(command, tmp_path, **environment) -> subprocess.CompletedProcess[str]:
    """Runs a process until it ends by itself."""
    nowhere = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none", "KEYS_DIR": str(tmp_path)}
    whole = {**plain_environment(), "DJANGO_SETTINGS_MODULE": "order_svc.settings", **nowhere, **environment}
    return subprocess.run(command, cwd=ROOT, env=whole, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", [GUNICORN, WORKER], ids=["web", "worker"])
def test_a_process_exits_and_names_every_reason(tmp_path, command):
    ended = start(command, tmp_path, PLATFORM_ENV="production", DEBUG="true")
    assert ended.returncode == EXIT_CODE, ended.stderr
    for named in ("DEBUG", "ALLOWED_HOSTS", "SECRET_KEY", "the key of order-service"):
        assert named in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_web_without_a_service_ends_by_itself(tmp_path):
    ended = start(GUNICORN, tmp_path, DJANGO_SETTINGS_MODULE="shop.settings")
    assert ended.returncode == EXIT_CODE
    assert all(service.settings_module in ended.stderr for service in SERVICES)


# /metrics

LOCAL, ELSEWHERE = "127.0.0.1", "203.0.113.7"


@pytest.fixture
def scrape(client, fine, db):
    fine.METRICS_TOKEN = "scrape-me"
    return lambda address=ELSEWHERE, **meta: client.get(
        "/metrics", REMOTE_ADDR=address, HTTP_HOST="shop.example.com", **meta
    )


def test_metrics_are_for_the_token(scrape):
    answer = scrape(HTTP_AUTHORIZATION="Bearer scrape-me")
    assert answer.status_code == 200
    assert b"http_requests_total" in answer.content


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer scrape-m", "Bearer scrape-me ", "Basic x", "Bearer é"]
)
def test_metrics_are_not_for_another(scrape, header):
    answer = scrape(HTTP_AUTHORIZATION=header)
    assert_problem(answer, 401, "not_authenticated")
    assert answer["WWW-Authenticate"]
    assert b"http_requests_total" not in answer.content


def test_an_empty_token_opens_nothing(scrape, fine):
    fine.METRICS_TOKEN = ""
    for header in ("", "Bearer ", "Bearer"):
        assert scrape(HTTP_AUTHORIZATION=header).status_code == 401


@pytest.mark.parametrize("address", [LOCAL, "::1"])
def test_metrics_are_for_the_machine_itself(scrape, address):
    assert scrape(address).status_code == 200


@pytest.mark.parametrize("header", ["HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED"])
@pytest.mark.parametrize("value", ["127.0.0.1", "203.0.113.7", "for=127.0.0.1", ""])
def test_a_proxy_on_the_machine_does_not_open_them_to_all(scrape, header, value):
    assert scrape(LOCAL, **{header: value}).status_code == 401


@pytest.mark.parametrize("header", ["HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_HOST"])
def test_a_header_cannot_make_a_caller_local(client, scrape, header):
    meta = {"HTTP_HOST": "shop.example.com", header: LOCAL}
    assert client.get("/metrics", REMOTE_ADDR=ELSEWHERE, **meta).status_code == 401


def test_loopback_has_no_privileges_behind_proxies(scrape, fine):
    fine.NUM_PROXIES = 1
    assert scrape(LOCAL).status_code == 401


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_metrics_are_only_read(client, scrape, method):
    answer = getattr(client, method)("/metrics", REMOTE_ADDR=ELSEWHERE, HTTP_HOST="shop.example.com")
    assert answer.status_code == 405
