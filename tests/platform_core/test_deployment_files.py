"""The Dockerfile, the compose files and .env.example agree with the topology, the variables, and each other."""

import ast
import configparser
import json
import os
import re
import stat
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from platform_core.conf import production
from platform_core.conf.environment import ROOT, VARIABLES, database_parts, direct_parts, parsed
from platform_core.conf.settings import service_settings
from platform_core.stack.keys import make_keys
from platform_core.stack.roles import ensure_roles
from platform_core.tools.sizing import POOL
from platform_core.topology import SERVICES
from tests import pooler
from tests.e2e.stack import own_folder
from tests.ports import free_ports
from tests.suites import SERVER_VARIABLE

COMPOSE_TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
MONITORING = {name: each for name, each in COMPOSE["services"].items() if each.get("profiles") == ["monitoring"]}
CONTAINERS = {name: each for name, each in COMPOSE["services"].items() if "profiles" not in each}
OVERLAY_TEXT = (ROOT / "compose.prod.yaml").read_text()
OVERLAY = yaml.safe_load(OVERLAY_TEXT)
EXAMPLE = (ROOT / ".env.example").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()

DEFAULTS = {variable.name: variable.default.replace(str(ROOT), ".") for variable in VARIABLES}
WORKERS = {f"{service.stem}-worker": service for service in SERVICES if service.has_worker}
OWNERS = {service.name: service for service in SERVICES} | WORKERS
INTERPOLATED = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE_TEXT))
OF_COMPOSE = {name for name in INTERPOLATED if name not in DEFAULTS}
SECRET = {variable.name for variable in VARIABLES if variable.secret}
MADE_FOR_COMPOSE = {"DJANGO_SETTINGS_MODULE", "PROMETHEUS_MULTIPROC_DIR", "OTEL_EXPORTER_OTLP_ENDPOINT"}
MOUNTED = "/run/secrets"

services = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
owners = pytest.mark.parametrize("name, service", OWNERS.items(), ids=list(OWNERS))
ours = pytest.mark.parametrize("name", [*OWNERS, "migrate", "keys"])


def environment_of(name: str, containers: dict = CONTAINERS) -> dict[str, str]:
    """The variables of a container with the minimal configuration."""
    given = containers[name].get("environment", {})
    return {variable: interpolated(str(text)) for variable, text in given.items()}


def interpolated(text: str) -> str:
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text.replace(ALLOWED_HOSTS, "shop.example.com"))


def merged(base, overlay):
    """As `docker compose -f … -f …` does it, for what these files have."""
    if isinstance(base, dict) and isinstance(overlay, dict):
        return base | {key: merged(base[key], overlay[key]) if key in base else overlay[key] for key in overlay}
    return base + overlay if isinstance(base, list) and isinstance(overlay, list) else overlay


PRODUCTION = merged(COMPOSE, OVERLAY)["services"]
ALLOWED_HOSTS = OVERLAY["services"]["user-service"]["environment"]["ALLOWED_HOSTS"]


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_compose_starts_the_services_the_workers_what_they_need_and_no_more():
    assert set(CONTAINERS) == {*OWNERS, "migrate", "keys", "postgres"}


@services
def test_a_web_is_published_on_its_own_port_of_the_loopback_address_alone(service):
    assert CONTAINERS[service.name]["ports"] == [f"127.0.0.1:{service.port}:{service.port}"]


def test_nothing_but_the_webs_is_published():
    published = {name for name, container in CONTAINERS.items() if "ports" in container}
    assert published == {service.name for service in SERVICES}
    assert all("network_mode" not in container for container in COMPOSE["services"].values())


def test_the_monitoring_is_started_when_it_is_asked_for_and_shown_to_this_machine_alone():
    ports = {name: container["ports"] for name, container in MONITORING.items()}
    assert ports == {"prometheus": ["127.0.0.1:9090:9090"], "grafana": ["127.0.0.1:3000:3000"]}
    needed = [
        name for name, container in CONTAINERS.items() if MONITORING.keys() & set(container.get("depends_on", ()))
    ]
    assert needed == []


@pytest.mark.parametrize("name", MONITORING)
def test_the_monitoring_is_pinned_to_a_version_and_mounts_files_that_are_there_and_that_it_cannot_change(name):
    assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", MONITORING[name]["image"])
    mounts = [volume.split(":") for volume in MONITORING[name]["volumes"] if volume.startswith(".")]
    assert mounts
    for source, _, mode in mounts:
        assert mode == "ro"
        assert (ROOT / source).exists()


POOLER = COMPOSE["services"]["pooler"]


def pooler_settings() -> configparser.ConfigParser:
    settings = configparser.ConfigParser(comment_prefixes=(";",), interpolation=None)
    settings.read(ROOT / "deploy" / "pgbouncer" / "pgbouncer.ini")
    return settings


def test_the_pooler_is_started_when_it_is_asked_for_and_is_not_published():
    assert POOLER["profiles"] == ["pooler"]
    assert "ports" not in POOLER
    assert re.fullmatch(r"[a-z]+/pgbouncer:v(\d+)\.(\d+)\.\d+-p\d+", POOLER["image"])
    settings = pooler_settings()["pgbouncer"]
    assert settings["pool_mode"] == "transaction"
    assert int(settings["default_pool_size"]) == POOL, "as the table of connections in docs/scaling.md"
    assert int(settings["max_prepared_statements"]) > 0
    assert "options" not in settings.get("ignore_startup_parameters", "")


@owners
def test_a_service_reaches_postgres_through_the_pooler_if_it_is_named_and_directly_for_locks(name, service):
    through = {
        name: text.replace("${DATABASE_AT:-postgres:5432}", "pooler:6432") for name, text in raw_of(name).items()
    }
    values = parsed({variable: interpolated(text) for variable, text in through.items()})
    pooled, direct = database_parts(service, values), direct_parts(service, values)
    port = pooler_settings()["pgbouncer"]["listen_port"]
    assert (pooled["host"], pooled["port"], direct["host"]) == ("pooler", port, "postgres")
    assert pooled["password"] == direct["password"]
    users = interpolated(COMPOSE["configs"]["pooler_users"]["content"])
    assert f'"{service.role}" "{pooled["password"]}"' in users.splitlines()


def raw_of(name: str) -> dict[str, str]:
    return {variable: str(text) for variable, text in CONTAINERS[name]["environment"].items()}


@pytest.mark.skipif(pooler.program() is None, reason=pooler.MISSING)
def test_pgbouncer_takes_the_configuration():
    """Debian's is older than the one of the container: it does not know prepared statements."""
    given = {**pooler_settings()["pgbouncer"], "auth_type": "trust"}
    del given["max_prepared_statements"], given["auth_file"], given["listen_addr"], given["listen_port"]
    (port,) = free_ports(1)
    with own_folder() as folder:
        taken = pooler.Pooler(folder, port, "127.0.0.1", **given)
        try:
            said = taken.output.read_text()
            assert "process up" in said and "WARNING" not in said and "ERROR" not in said
        finally:
            taken.stop()


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
    assert environment.keys() <= DEFAULTS.keys() | MADE_FOR_COMPOSE
    assert parsed(environment)["PLATFORM_ENV"] == "development"
    assert environment["PLATFORM_ENV"] == "development", "named, and not left to the image or to .env"


def test_defaults_in_compose_are_the_defaults_of_the_code():
    for name, default in INTERPOLATED.items():
        assert name in OF_COMPOSE or default in ("", DEFAULTS[name] or str(parsed({})[name])), name
    production = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", OVERLAY_TEXT))
    assert int(production["WEB_CONCURRENCY"]) == parsed({"PLATFORM_ENV": "production"})["WEB_CONCURRENCY"]


@owners
def test_a_service_gets_only_its_own_database_password(name, service):
    environment = environment_of(name)
    assert databases_in(environment) == {service.database_url_variable}
    parts = database_parts(service, parsed(environment))
    assert (parts["user"], parts["host"], parts["dbname"]) == (service.role, "postgres", "platform")
    raw = CONTAINERS[name]["environment"][service.database_url_variable]
    assert f"${{{service.stem.upper()}_DATABASE_PASSWORD:-" in raw


def databases_in(environment: dict[str, str]) -> set[str]:
    return {variable for variable in environment if "DATABASE" in variable or "POSTGRES" in variable}


def test_the_superusers_password_is_for_postgres_and_the_migrations_alone():
    texts = {name: json.dumps(container) for name, container in CONTAINERS.items()}
    assert {name for name, text in texts.items() if "{POSTGRES_PASSWORD:-" in text} == {"postgres", "migrate"}


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
def test_a_service_starts_once_postgres_answers_everything_is_migrated_and_keys_are_made(name, service):
    conditions = {on: how["condition"] for on, how in CONTAINERS[name]["depends_on"].items()}
    done = "service_completed_successfully"
    assert conditions == {"postgres": "service_healthy", "migrate": done, "keys": done}


def test_the_migrations_run_once_and_before_that_wait_for_postgres():
    migrate = CONTAINERS["migrate"]
    assert migrate["command"] == ["python", "manage.py", "migrate"]
    assert migrate["restart"] == "no"
    assert migrate["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_the_keys_are_made_before_the_services_start_by_a_container_that_knows_nothing_else():
    keys = CONTAINERS["keys"]
    assert keys["command"] == ["python", "manage.py", "keys"]
    assert keys["restart"] == "no"
    assert environment_of("keys") == {"PLATFORM_ENV": "development", "KEYS_DIR": "/keys"}
    assert keys["volumes"] == [f"{service.stem}-keys:/keys/{service.name}" for service in SERVICES]


@owners
def test_a_service_is_given_its_own_keys_alone_and_cannot_change_them(name, service):
    assert CONTAINERS[name]["volumes"] == [f"{service.stem}-keys:/keys/{service.name}:ro"]
    assert environment_of(name)["KEYS_DIR"] == "/keys"
    assert f"{service.stem}-keys" in COMPOSE["volumes"]


@owners
def test_webs_and_workers_get_the_trace_endpoint(name, service):
    assert environment_of(name)["OTEL_EXPORTER_OTLP_ENDPOINT"] == ""
    assert "requirements-tracing.lock" in DOCKERFILE
    assert "!requirements-tracing.lock" in (ROOT / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("argument, name", [("TRACING", "tracing"), ("XLSX", "xlsx")])
def test_the_image_can_have_the_optional_packages(argument, name):
    assert f"ARG {argument}=\n" in DOCKERFILE
    assert f"${{{argument}:+-r requirements-{name}.lock}}" in DOCKERFILE
    assert f"!requirements-{name}.lock" in (ROOT / ".dockerignore").read_text().splitlines()


@services
def test_a_new_volume_for_keys_belongs_to_the_user_of_the_image(service):
    (command,) = re.findall(r"^RUN (for package in .*install -d -o platform .*)$", DOCKERFILE, re.MULTILINE)
    said = subprocess.run(
        ["sh", "-c", f'install() {{ echo "$@"; }}; {command}'], cwd=ROOT, capture_output=True, text=True
    )
    assert f"-d -o platform -m 700 /keys/{service.name}" in said.stdout.splitlines()
    assert "useradd --uid 10001 " in DOCKERFILE
    assert "\nUSER 10001\n" in DOCKERFILE


def test_keys_are_made_in_the_services_folders_alone_for_the_one_around_them_cannot_be_written(tmp_path):
    make_keys(parsed({"KEYS_DIR": str(tmp_path)}))
    assert {path.name for path in tmp_path.iterdir()} == {service.name for service in SERVICES}


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_can_write_to_its_volumes_and_tmp_alone_and_gains_no_rights(name):
    container = COMPOSE["services"][name]
    assert container["read_only"] is True
    assert "/tmp" in container["tmpfs"]
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert not container.get("privileged")


@pytest.mark.parametrize("name", [*OWNERS, "postgres", *MONITORING])
def test_a_crashed_container_is_restarted(name):
    assert COMPOSE["services"][name]["restart"] == "unless-stopped"


def test_all_run_one_image_which_is_built_once():
    images = {CONTAINERS[name]["image"] for name in [*OWNERS, "migrate", "keys"]}
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
    drain = int(re.search(r"^ +DRAIN_SECONDS=(\d+)$", DOCKERFILE, re.MULTILINE)[1])
    assert seconds(CONTAINERS[service.name]["stop_grace_period"]) > drain + assigned["graceful_timeout"]


@services
def test_metrics_of_a_webs_processes_are_summed_in_a_folder_that_it_may_write(service):
    assert environment_of(service.name)["PROMETHEUS_MULTIPROC_DIR"].startswith("/tmp/")


def test_the_data_of_postgres_lies_in_a_volume():
    assert CONTAINERS["postgres"]["volumes"] == ["postgres:/var/lib/postgresql/data"]
    assert "postgres" in COMPOSE["volumes"]


def test_production_is_the_same_but_for_mode_secrets_and_limits():
    assert set(OVERLAY["services"]) == {*COMPOSE["services"], "proxy"}
    changed = {key for name, container in OVERLAY["services"].items() if name != "proxy" for key in container}
    assert changed == {"environment", "secrets", "mem_limit", "pids_limit"}


def test_production_publishes_the_webs_to_this_machine_alone_and_the_proxy_to_all():
    published = {name: container["ports"] for name, container in PRODUCTION.items() if "ports" in container}
    del published["proxy"]
    webs = {service.name: [f"127.0.0.1:{service.port}:{service.port}"] for service in SERVICES}
    assert published == webs | {name: MONITORING[name]["ports"] for name in MONITORING}


def test_a_command_that_forgets_the_overlay_does_not_reach_production():
    assert OVERLAY["name"] != COMPOSE["name"]


@pytest.fixture(scope="module")
def secret_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "secrets"
    make_secrets(folder)
    return folder


def make_secrets(folder: Path) -> None:
    subprocess.run([ROOT / "deploy" / "make_secrets.sh", folder], check=True, capture_output=True)


def in_production(name: str, secret_files: Path) -> dict[str, str]:
    """A container's variables, with the secrets where they are made."""
    environment = environment_of(name, PRODUCTION)
    return {variable: text.replace(MOUNTED, str(secret_files)) for variable, text in environment.items()}


@ours
def test_production_is_given_variables_that_exist_with_values_that_are_valid(name, secret_files):
    environment = in_production(name, secret_files)
    files = {f"{variable}_FILE" for variable in SECRET}
    assert environment.keys() <= DEFAULTS.keys() | MADE_FOR_COMPOSE | files
    assert parsed(environment)["PLATFORM_ENV"] == "production"


@owners
def test_production_starts_with_what_is_given(name, service, secret_files, settings, tmp_path):
    given = service_settings(service.package, environment=in_production(name, secret_files))
    make_keys(parsed({"KEYS_DIR": str(tmp_path)}))
    settings.SERVICE, settings.KEYS_DIR, settings.SERVICE_KEY, settings.SERVICE_KEYS = service, tmp_path, "", ""
    production.check(SimpleNamespace(**given))


@owners
def test_in_production_a_service_gets_only_its_own_database_password(name, service, secret_files):
    environment = in_production(name, secret_files)
    own = service.database_url_variable
    assert databases_in(environment) == {own, f"{own}_FILE"}
    parts = database_parts(service, parsed(environment))
    assert (parts["user"], parts["host"], parts["dbname"]) == (service.role, "postgres", "platform")
    assert len(parts["password"]) >= 32
    assert environment[service.direct_url_variable] == "", "not the one of development"
    assert [secret for secret in PRODUCTION[name]["secrets"] if "database" in secret] == [own.lower()]


def test_in_production_migrations_get_all_passwords(secret_files):
    values = parsed(in_production("migrate", secret_files))
    superuser = conninfo_to_dict(values["DATABASE_URL"])
    assert superuser["user"] == "postgres"
    assert superuser["password"] == (secret_files / "postgres_password").read_text().strip()
    for service in SERVICES:
        assert values[service.database_url_variable] == (secret_files / file_of(service)).read_text().strip()


def file_of(service) -> str:
    return service.database_url_variable.lower()


def test_production_gives_the_superusers_password_to_postgres_and_the_migrations_alone():
    given = {name: set(container.get("secrets", [])) for name, container in PRODUCTION.items()}
    assert [name for name, secrets in given.items() if "postgres_password" in secrets] == ["postgres"]
    assert [name for name, secrets in given.items() if "database_url" in secrets] == ["migrate"]


@pytest.mark.parametrize("name", PRODUCTION)
def test_production_takes_secrets_from_the_files_that_the_container_sees_and_from_nowhere_else(name):
    environment = environment_of(name, PRODUCTION)
    assert all(not environment[variable] for variable in environment.keys() & (SECRET | OF_COMPOSE))
    read = {text for variable, text in environment.items() if variable.endswith("_FILE")}
    if name == "prometheus":
        read.add(f"{MOUNTED}/metrics_token")  # by its configuration
    if name == "proxy":
        read |= {f"{MOUNTED}/tls_certificate", f"{MOUNTED}/tls_key"}  # by its configuration
    assert read == {f"{MOUNTED}/{secret}" for secret in PRODUCTION[name].get("secrets", [])}


def test_the_production_file_contains_no_secret():
    assert set(re.findall(r"\$\{(\w+)", OVERLAY_TEXT)) == {"ALLOWED_HOSTS", "NUM_PROXIES", "WEB_CONCURRENCY"}
    assert re.findall(r"\w+://[^/]*", OVERLAY_TEXT) == ["http://127.0.0.1:8080"]  # the proxy's health check
    assert {name: where["file"] for name, where in OVERLAY["secrets"].items()} == {
        name: f"./secrets/{name}" for name in OVERLAY["secrets"]
    }


def test_production_does_not_start_without_named_hosts():
    assert ALLOWED_HOSTS.startswith("${ALLOWED_HOSTS:?")


def test_generated_secrets_are_those_that_production_requires(secret_files):
    assert {path.name for path in secret_files.iterdir()} == set(OVERLAY["secrets"])


def test_others_can_read_a_secret_once_it_is_mounted_but_not_in_its_folder(secret_files):
    assert stat.S_IMODE(secret_files.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret_files.iterdir()} == {0o644}


def test_secrets_are_generated_once_and_missing_ones_are_added(tmp_path):
    make_secrets(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "order_database_url").unlink()
    (tmp_path / "secret_key").chmod(0o600)
    make_secrets(tmp_path)
    after = contents(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"order_database_url"}
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o644


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_no_two_secrets_are_the_same(secret_files, tmp_path):
    make_secrets(tmp_path)
    words = re.findall(r"\b[0-9a-f]{64}\b", "".join([*contents(secret_files).values(), *contents(tmp_path).values()]))
    common = ("secret_key", "metrics_token", "postgres_password", "database_url")
    assert len(words) == 2 * (len(common) + len(SERVICES))
    assert len(set(words)) == len(words) - 2, "the superuser's stands in two files"


def test_a_superuser_password_that_does_not_match_the_volume_is_not_generated(secret_files, tmp_path):
    make_secrets(tmp_path)
    (tmp_path / "postgres_password").unlink()
    with pytest.raises(subprocess.CalledProcessError) as error:
        make_secrets(tmp_path)
    assert b"delete both" in error.value.stderr


def test_secrets_go_neither_into_git_nor_into_the_image():
    assert "secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert not any("secret" in line for line in lines)


@services
def test_the_image_asks_for_its_health_under_a_name_that_production_lets_in(service, secret_files):
    asked = []

    class Web(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Host"].partition(":")[0]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    environment = in_production(service.name, secret_files)
    with HTTPServer(("127.0.0.1", 0), Web) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        given = {**environment, "PORT": str(server.server_port)}
        code = subprocess.run([sys.executable, "-c", health_check()], env=given, cwd=ROOT, check=False).returncode
        server.shutdown()
    assert code == 0
    assert asked == [("/health/live", service.name)]
    assert service.name in service_settings(service.package, environment=environment)["ALLOWED_HOSTS"]


def health_check() -> str:
    command = re.search(r"^HEALTHCHECK .*?CMD (\[.*?\])$", DOCKERFILE, re.MULTILINE | re.DOTALL)[1]
    return json.loads(command.replace("\\\n", ""))[2]


def test_the_image_runs_in_production_mode_and_not_as_root():
    last_stage = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert "PLATFORM_ENV=production" in last_stage
    assert "BIND_HOST=0.0.0.0" in last_stage
    assert int(re.search(r"^USER (\d+)$", last_stage, re.MULTILINE)[1]) > 0


def test_the_image_builds_with_older_builders():
    assert not re.search(r"^# *syntax=|<<|--link|--mount", DOCKERFILE, re.MULTILINE)


def test_env_example_names_every_variable_at_its_default_under_its_meaning():
    for variable in VARIABLES:
        assert f"\n# {variable.meaning}\n#{variable.name}={DEFAULTS[variable.name]}\n" in EXAMPLE, variable.name


def test_env_example_names_every_variable_of_compose_at_its_default():
    for name in OF_COMPOSE:
        assert f"\n#{name}={INTERPOLATED[name]}\n" in EXAMPLE, name


def test_env_example_names_nothing_that_does_not_exist():
    named = re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    assert sorted(named) == sorted({*DEFAULTS, *OF_COMPOSE, "COMPOSE_FILE"})
    assert {*re.findall(r"\$\{(\w+)", OVERLAY_TEXT)} <= {*DEFAULTS}


def test_the_page_on_containers_names_all_that_they_are_given_from_outside():
    page = (ROOT / "docs" / "containers.md").read_text()
    passed_on = {*INTERPOLATED} - OF_COMPOSE
    assert [name for name in sorted(passed_on) if f"`{name}`" not in page] == []


def test_a_copy_of_env_example_changes_nothing():
    lines = EXAMPLE.splitlines()
    assert all(not line or line.startswith("#") for line in lines)
    uncommented = dict(line[1:].split("=", 1) for line in lines if re.match(r"#[A-Z_]+=", line))
    same_folder = {"PLATFORM_DATA": ROOT / ".platform"}
    values = parsed(uncommented)
    values["PLATFORM_DATA"] = ROOT / values["PLATFORM_DATA"]
    assert values == {**parsed({}), **same_folder}
