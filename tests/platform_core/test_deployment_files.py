"""The Dockerfile, compose.yaml and .env.example agree with the topology, the variables, and each other."""

import ast
import os
import re

import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from platform_core.environment import ROOT, VARIABLES, database_parts, parsed
from platform_core.stack.roles import ensure_roles
from platform_core.topology import SERVICES
from tests.suites import SERVER_VARIABLE

COMPOSE_TEXT = (ROOT / "compose.yaml").read_text()
CONTAINERS = yaml.safe_load(COMPOSE_TEXT)["services"]
EXAMPLE = (ROOT / ".env.example").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()

DEFAULTS = {variable.name: variable.default.replace(str(ROOT), ".") for variable in VARIABLES}
WORKERS = {f"{service.stem}-worker": service for service in SERVICES if service.has_worker}
OWNERS = {service.name: service for service in SERVICES} | WORKERS
INTERPOLATED = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE_TEXT))
OF_COMPOSE = {name for name in INTERPOLATED if name not in DEFAULTS}

services = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
owners = pytest.mark.parametrize("name, service", OWNERS.items(), ids=list(OWNERS))
ours = pytest.mark.parametrize("name", [*OWNERS, "migrate"])


def environment_of(name: str) -> dict[str, str]:
    """As a container gets it when nothing is configured."""
    given = CONTAINERS[name].get("environment", {})
    return {variable: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text)) for variable, text in given.items()}


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_compose_starts_the_services_the_workers_the_migrations_and_postgres_and_no_more():
    assert set(CONTAINERS) == {*OWNERS, "migrate", "postgres"}


@services
def test_a_web_is_published_on_its_own_port_of_the_loopback_address_alone(service):
    assert CONTAINERS[service.name]["ports"] == [f"127.0.0.1:{service.port}:{service.port}"]


def test_nothing_but_the_webs_is_published():
    published = {name for name, container in CONTAINERS.items() if "ports" in container}
    assert published == {service.name for service in SERVICES}
    assert all("network_mode" not in container for container in CONTAINERS.values())


@services
def test_a_web_runs_the_images_gunicorn_for_its_service(service):
    assert "command" not in CONTAINERS[service.name]
    assert environment_of(service.name)["DJANGO_SETTINGS_MODULE"] == service.settings_module


@pytest.mark.parametrize("name, service", WORKERS.items(), ids=list(WORKERS))
def test_a_worker_runs_the_duties_of_its_service(name, service):
    assert CONTAINERS[name]["command"] == ["python", "manage.py", service.package, "worker"]


@owners
def test_peers_are_reached_by_their_names_in_the_network(name, service):
    urls = {peer.url_variable: f"http://{peer.name}:{peer.port}" for peer in SERVICES}
    assert urls.items() <= environment_of(name).items()


@ours
def test_a_container_is_given_variables_that_exist_with_values_that_are_valid(name):
    environment = environment_of(name)
    assert environment.keys() <= DEFAULTS.keys() | {"DJANGO_SETTINGS_MODULE", "PROMETHEUS_MULTIPROC_DIR"}
    assert parsed(environment)["PLATFORM_ENV"] == "development"
    assert environment["PLATFORM_ENV"] == "development", "named, and not left to the image or to .env"


def test_what_a_variable_is_in_compose_when_nobody_sets_it_is_what_it_is_elsewhere():
    for name, default in INTERPOLATED.items():
        assert name in OF_COMPOSE or default in ("", DEFAULTS[name]), name


@owners
def test_a_service_is_given_its_own_database_and_nobody_elses_password(name, service):
    environment = environment_of(name)
    databases = {variable for variable in environment if "DATABASE" in variable or "POSTGRES" in variable}
    assert databases == {service.database_url_variable}
    parts = database_parts(service, parsed(environment))
    assert (parts["user"], parts["host"], parts["dbname"]) == (service.role, "postgres", "platform")
    raw = CONTAINERS[name]["environment"][service.database_url_variable]
    assert f"${{{service.stem.upper()}_DATABASE_PASSWORD:-" in raw


@services
def test_the_migrations_give_a_role_the_password_that_its_service_uses(service):
    migrate, web = CONTAINERS["migrate"]["environment"], CONTAINERS[service.name]["environment"]
    assert migrate[service.database_url_variable] == web[service.database_url_variable]


@pytest.mark.parametrize(
    "place, taken", [({}, True), ({"dbname": "elsewhere"}, False), ({"port": "1"}, False), ({"user": "me"}, False)]
)
def test_a_role_takes_its_password_from_a_url_that_leads_to_the_same_database(place, taken):
    server = os.environ[SERVER_VARIABLE]
    own = {"port": "5432", "password": "own", **conninfo_to_dict(server), "user": "user_svc", **place}
    values = {**parsed({"DATABASE_URL": server}), "USER_DATABASE_URL": make_conninfo(**own)}
    before = stored_password("user_svc")
    ensure_roles(values)
    assert (stored_password("user_svc") != before) is taken


def stored_password(role: str) -> str | None:
    with psycopg.connect(os.environ[SERVER_VARIABLE]) as connection:
        return connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [role]).fetchone()[0]


@owners
def test_a_service_starts_once_postgres_answers_and_everything_is_migrated(name, service):
    conditions = {on: how["condition"] for on, how in CONTAINERS[name]["depends_on"].items()}
    assert conditions == {"postgres": "service_healthy", "migrate": "service_completed_successfully"}


def test_the_migrations_run_once_and_before_that_wait_for_postgres():
    migrate = CONTAINERS["migrate"]
    assert migrate["command"] == ["python", "manage.py", "migrate"]
    assert migrate["restart"] == "no"
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_can_write_to_its_volumes_and_tmp_alone_and_gains_no_rights(name):
    container = CONTAINERS[name]
    assert container["read_only"] is True
    assert "/tmp" in container["tmpfs"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not container.get("privileged")


@pytest.mark.parametrize("name", [*OWNERS, "postgres"])
def test_what_crashes_is_started_again(name):
    assert CONTAINERS[name]["restart"] == "unless-stopped"


def test_all_run_one_image_which_is_built_once():
    images = {CONTAINERS[name]["image"] for name in [*OWNERS, "migrate"]}
    assert len(images) == 1
    assert [name for name, container in CONTAINERS.items() if "build" in container] == ["migrate"]


@services
def test_a_web_that_stops_has_time_to_finish_its_requests(service):
    configuration = (ROOT / "deploy" / "gunicorn.conf.py").read_text()
    assigned = {
        node.targets[0].id: node.value.value
        for node in ast.parse(configuration).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    assert seconds(CONTAINERS[service.name]["stop_grace_period"]) > assigned["graceful_timeout"]


@services
def test_metrics_of_a_webs_processes_are_summed_in_a_folder_that_it_may_write(service):
    assert environment_of(service.name)["PROMETHEUS_MULTIPROC_DIR"].startswith("/tmp/")


def test_the_data_of_postgres_lies_in_a_volume():
    assert CONTAINERS["postgres"]["volumes"] == ["postgres:/var/lib/postgresql/data"]
    assert "postgres" in yaml.safe_load(COMPOSE_TEXT)["volumes"]


def test_the_image_is_closed_unless_told_otherwise_and_not_run_by_root():
    last_stage = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "PLATFORM_ENV=production" in last_stage
    assert "BIND_HOST=0.0.0.0" in last_stage
    assert int(re.search(r"^USER (\d+)$", last_stage, re.MULTILINE)[1]) > 0


def test_the_image_asks_nothing_of_the_builder_that_older_ones_lack():
    assert not re.search(r"^# *syntax=|<<|--link|--mount", DOCKERFILE, re.MULTILINE)


def test_env_example_names_every_variable_at_its_default_under_its_meaning():
    for variable in VARIABLES:
        assert f"\n# {variable.meaning}\n#{variable.name}={DEFAULTS[variable.name]}\n" in EXAMPLE, variable.name


def test_env_example_names_every_variable_of_compose_at_its_default():
    for name in OF_COMPOSE:
        assert f"\n#{name}={INTERPOLATED[name]}\n" in EXAMPLE, name


def test_env_example_names_nothing_that_does_not_exist():
    named = re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert sorted(named) == sorted({*DEFAULTS, *OF_COMPOSE})


def test_a_copy_of_env_example_changes_nothing():
    lines = EXAMPLE.splitlines()
    assert all(not line or line.startswith("#") for line in lines)
    uncommented = dict(line[1:].split("=", 1) for line in lines if re.match(r"#[A-Z_]+=", line))
    same_folder = {"PLATFORM_DATA": ROOT / ".platform"}
    values = parsed(uncommented)
    values["PLATFORM_DATA"] = ROOT / values["PLATFORM_DATA"]
    assert values == {**parsed({}), **same_folder}
