"""Variables: all invalid ones are reported at once, and the documentation is generated from the code."""

import pytest

from platform_core.conf.environment import (
    ConfigurationError,
    database_parts,
    direct_parts,
    owner_url,
    parsed,
)
from platform_core.conf.settings import service_settings
from platform_core.stack.supervisor import service_environment
from platform_core.topology import ORDER, USER


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("PORT", "http", "a whole number from 1 to 65535"),
        ("PORT", "70000", "a whole number from 1 to 65535"),
        ("PORT", "٨٠٠١", "a whole number from 1 to 65535"),
        ("LOG_LEVEL", "INFO", "one of debug, info, warn, error"),
        ("PLATFORM_ENV", "prod", "one of development, production"),
        ("WEB_CONCURRENCY", "0", "a whole number from 1 to 64"),
        ("DATABASE_URL", "mysql://x/y", "a URL such as postgresql://"),
        ("DATABASE_URL", "postgresql://host", "a URL such as postgresql://"),
        ("USER_SERVICE_URL", "localhost:8001", "a URL such as http://"),
        ("USER_SERVICE_URL", "http://localhost:99999", "a URL such as http://"),
        ("CORS_ALLOWED_ORIGINS", "shop.example.com", "origins such as https://"),
        *(("CURRENCY", each, "a currency of ISO 4217 with two or no") for each in ("usd", "KWD", "XXX", "CLF", "BTC")),
        *(("SHOP_TIME_ZONE", each, "a time zone such as") for each in ("Berlin", "../x", "+01:00", "/etc/passwd")),
        ("EMAIL_URL", "carrier-pigeon://x", "a URL such as smtp"),
    ],
)
def test_a_malformed_variable_is_named_with_what_was_expected(name, value, expected):
    with pytest.raises(ConfigurationError) as error:
        parsed({name: value})
    (problem,) = error.value.problems
    assert problem.startswith(f"{name}: expected {expected}")


def test_all_malformed_variables_are_named_at_once():
    with pytest.raises(ConfigurationError) as error:
        service_settings("user_svc", environment={"PORT": "x", "LOG_LEVEL": "x", "WEB_THREADS": "1"})
    assert [problem.split(":")[0] for problem in error.value.problems] == ["PORT", "LOG_LEVEL", "WEB_THREADS"]


def test_a_malformed_secret_is_not_shown():
    with pytest.raises(ConfigurationError) as error:
        parsed({"DATABASE_URL": "postgresql//user:hunter2@host/db"})
    assert "hunter2" not in str(error.value)


def test_an_empty_variable_counts_as_not_set():
    assert parsed({"PORT": "", "LOG_LEVEL": ""})["LOG_LEVEL"] == "info"


def test_the_services_role_takes_the_place_of_another_user_of_database_url():
    values = parsed({"DATABASE_URL": "postgresql://admin:secret@db:5433/shop", "SECRET_KEY": "k"})
    user, order = (database_parts(service, values) for service in (USER, ORDER))
    assert (user["user"], user["host"], user["port"], user["dbname"]) == ("user_svc", "db", "5433", "shop")
    assert "secret" not in (user["password"], order["password"])
    assert user["password"] != order["password"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, 1), ({"PLATFORM_ENV": "production"}, 2), ({"WEB_CONCURRENCY": "3"}, 3), ({"WEB_CONCURRENCY": ""}, 1)],
)
def test_production_has_two_web_processes_and_development_one_unless_it_is_said(environment, expected):
    assert parsed(environment)["WEB_CONCURRENCY"] == expected


def test_a_url_of_its_own_is_taken_as_it_is():
    values = parsed(
        {"DATABASE_URL": "postgresql://admin:secret@db/shop", "USER_DATABASE_URL": "postgresql://me:mine@there/own"}
    )
    parts = database_parts(USER, values)
    assert (parts["user"], parts["password"], parts["host"], parts["dbname"]) == ("me", "mine", "there", "own")


def test_in_production_hosts_and_origins_are_closed_unless_named():
    environment = {"PLATFORM_ENV": "production", "USER_SERVICE_URL": "http://user-service:8001"}
    settings = service_settings("user_svc", environment=environment)
    assert settings["ALLOWED_HOSTS"] == ["user-service"], "as its peers call it"
    assert not settings["CORS_ALLOW_ALL_ORIGINS"]
    assert settings["SESSION_COOKIE_SECURE"]


POOLED = "postgresql://admin:secret@pooler:6432/shop"
DIRECT = "postgresql://admin:secret@db/shop"


@pytest.mark.parametrize(
    ("environment", "host", "user"),
    [
        ({"DATABASE_URL": DIRECT}, "db", "user_svc"),
        ({"DATABASE_URL": POOLED, "DIRECT_URL": DIRECT}, "db", "user_svc"),
        ({"DATABASE_URL": DIRECT, "USER_DATABASE_URL": "postgresql://me@pooler/own"}, "pooler", "me"),
        (
            {"USER_DATABASE_URL": "postgresql://me@pooler/own", "USER_DIRECT_URL": "postgresql://me@there/own"},
            "there",
            "me",
        ),
        (
            {"DATABASE_URL": POOLED, "DIRECT_URL": DIRECT, "USER_DIRECT_URL": "postgresql://me@there/own"},
            "there",
            "me",
        ),
    ],
)
def test_the_direct_url_is_the_usual_one_unless_it_is_said(environment, host, user):
    parts = direct_parts(USER, parsed(environment))
    assert (parts["host"], parts["user"]) == (host, user)


def test_the_password_of_a_role_is_the_same_past_the_pooler():
    values = parsed({"DATABASE_URL": POOLED, "DIRECT_URL": DIRECT, "SECRET_KEY": "k"})
    assert direct_parts(USER, values)["password"] == database_parts(USER, values)["password"]
    assert owner_url(values) == DIRECT


def test_a_direct_url_alone_is_refused():
    with pytest.raises(ConfigurationError, match="DIRECT_URL: expected DATABASE_URL as well"):
        parsed({"DIRECT_URL": DIRECT})


def test_a_process_gets_the_two_urls_of_its_own_database():
    values = parsed({"DATABASE_URL": POOLED, "DIRECT_URL": DIRECT, "ORDER_DIRECT_URL": "postgresql://x@y/z"})
    environ = {"DIRECT_URL": DIRECT, "ORDER_DIRECT_URL": "postgresql://x@y/z", "ORDER_DIRECT_URL_FILE": "/z"}
    found = service_environment(USER, values, environ)
    assert {name for name in found if "DIRECT" in name} == {"DIRECT_URL"}
    settings = service_settings("user_svc", environment=found)
    assert settings["DATABASES"]["default"]["HOST"] == "pooler"
    assert settings["DIRECT_DATABASE"]["host"] == "db"


@pytest.mark.parametrize(("said", "threshold"), [("on", 2**31), ("off", None)])
def test_prepared_statements_can_be_switched_off(said, threshold):
    environment = {"DATABASE_URL": POOLED, "PREPARED_STATEMENTS": said}
    options = service_settings("user_svc", environment=environment)["DATABASES"]["default"]["OPTIONS"]
    assert options["prepare_threshold"] == threshold
