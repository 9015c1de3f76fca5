"""BREACHED_PASSWORDS."""

import gzip

import pytest

from platform_core.conf import ConfigurationError, service_settings
from tests.wire import assert_problem

pytestmark = pytest.mark.django_db
ANN = {"name": "Ann", "email": "ann@example.com"}


@pytest.fixture(params=["plain", "gzip"])
def breached(request, tmp_path, settings):
    """A list with one password, and the settings that name it."""
    file, content = tmp_path / "breached", b"correct horse battery staple\n"
    file.write_bytes(content if request.param == "plain" else gzip.compress(content))
    made = service_settings("user_svc", environment={"BREACHED_PASSWORDS": str(file)})
    settings.AUTH_PASSWORD_VALIDATORS = made["AUTH_PASSWORD_VALIDATORS"]


@pytest.mark.parametrize("password", ["correct horse battery staple", "Correct Horse Battery Staple", "password123"])
def test_a_breached_or_common_password_is_refused(api, breached, password):
    assert_problem(api.post("/api/users", {**ANN, "password": password}), 400, "invalid", ["password"])


def test_another_password_is_taken(api, breached):
    assert api.post("/api/users", {**ANN, "password": "correct horse battery"}).status_code == 201


def test_without_a_list_only_common_passwords_are_refused(api):
    assert api.post("/api/users", {**ANN, "password": "correct horse battery staple"}).status_code == 201
    assert_problem(api.post("/api/users", {**ANN, "password": "password123"}), 400, "invalid", ["password"])


def test_a_list_that_cannot_be_read_stops_the_start(tmp_path):
    with pytest.raises(ConfigurationError, match="BREACHED_PASSWORDS: expected the path of a readable file"):
        service_settings("user_svc", environment={"BREACHED_PASSWORDS": str(tmp_path / "missing")})
