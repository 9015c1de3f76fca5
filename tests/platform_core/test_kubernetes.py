"""deploy/kubernetes agrees with the topology, the variables, the access rules, the image, and compose.

`tests/kubernetes` builds and validates the same files with kubectl.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import yaml

from platform_core.conf import production
from platform_core.conf.environment import ROOT, VARIABLES, database_parts, parsed
from platform_core.conf.settings import service_settings
from platform_core.http.context import MAX_DEADLINE
from platform_core.stack import capacity
from platform_core.stack.supervisor import MIGRATION_TIMEOUT_SECONDS
from platform_core.tools import kubernetes as generator
from platform_core.topology import NOTIFICATION, PRODUCT, SERVICES
from tests import manifests
from tests.manifests import DEVELOPMENT, OPERATORS, OVERLAYS, PRODUCTION, Resource, by_name, main_container, workloads
from tests.suites import SERVER_VARIABLE, plain_environment

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKERS = {f"{service.stem}-worker": service for service in SERVICES if service.has_worker}
OWNERS = {service.name: service for service in SERVICES} | WORKERS
DEFAULTS = {variable.name for variable in VARIABLES}
SECRET = {variable.name for variable in VARIABLES if variable.secret}
OF_DJANGO_AND_PROMETHEUS = {"DJANGO_SETTINGS_MODULE", "PROMETHEUS_MULTIPROC_DIR"}
SECRETS = "/secrets"

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
owners = pytest.mark.parametrize("name", OWNERS)
services = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


def mounted_secrets(workload: Resource) -> set[str]:
    """The names of all Secrets that a pod gets."""
    found = set()
    for volume in manifests.pod(workload)["volumes"]:
        found |= {source["secret"]["name"] for source in volume.get("projected", {}).get("sources", [])}
        found |= {volume["secret"]["secretName"]} if "secret" in volume else set()
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[Path, Path]:
    """For each overlay the folder of its secrets, as make_secrets.sh makes them."""
    found = {}
    for overlay in OVERLAYS:
        copy = tmp_path_factory.mktemp(overlay.name)
        (copy / "kustomization.yaml").write_text("")
        subprocess.run(
            [manifests.FOLDER / "make_secrets.sh", copy],
            env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
            check=True,
            capture_output=True,
        )
        found[overlay] = copy / "secrets"
    return found


def environment_of(container: dict[str, Any], overlay: Path, secrets: Path | None = None) -> dict[str, str]:
    """The variables of a container, with the secrets where they are made."""
    assert container["envFrom"] == [{"configMapRef": {"name": "platform"}}]
    own = {each["name"]: each["value"] for each in container["env"]}
    assert len(own) == len(container["env"])
    given = manifests.configuration(overlay) | own
    return {name: text.replace(SECRETS, str(secrets or SECRETS)) for name, text in given.items()}


@overlays
def test_it_runs_the_services_the_workers_and_the_migrations(overlay):
    assert by_name(overlay, "Deployment").keys() == OWNERS.keys()
    assert by_name(overlay, "Job").keys() == {"migrate"}
    assert by_name(overlay, "Service").keys() - {"postgres"} == {service.name for service in SERVICES}


@overlays
def test_all_run_one_image(overlay):
    images = {each["image"] for workload in workloads(overlay).values() for each in manifests.containers(workload)}
    (image,) = manifests.kustomization(overlay)["images"]
    assert images == {f"{image['newName']}:{image['newTag']}"}


@overlays
@services
def test_a_web_is_reached_under_the_name_and_port_of_its_url(overlay, service):
    web, front = by_name(overlay, "Deployment")[service.name], by_name(overlay, "Service")[service.name]
    container = main_container(web)
    assert "command" not in container and "args" not in container, "the image's"
    assert container["ports"] == [{"name": "http", "containerPort": service.port}]
    (port,) = front["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (service.port, "http")
    assert front["spec"]["selector"] == manifests.labels_of(web)
    environment = environment_of(container, overlay)
    assert environment["DJANGO_SETTINGS_MODULE"] == service.settings_module
    for peer in SERVICES:
        assert environment[peer.url_variable] == f"http://{peer.name}:{peer.port}"


@overlays
@pytest.mark.parametrize("name, service", WORKERS.items(), ids=list(WORKERS))
def test_a_worker_runs_the_duties_of_its_service_and_begins_when_its_schema_is_migrated(overlay, name, service):
    worker = by_name(overlay, "Deployment")[name]
    container = main_container(worker)
    assert container["command"] == ["python", "manage.py", service.package, "worker"]
    (first,) = manifests.pod(worker)["initContainers"]
    assert first["args"] == [service.package]
    given, of_worker = environment_of(first, overlay), environment_of(container, overlay)
    assert given.items() <= of_worker.items()
    assert first["volumeMounts"] == [
        each for each in container["volumeMounts"] if not each["mountPath"].startswith("/keys")
    ]


@pytest.mark.parametrize("is_migrated, code", [(True, 0), (False, 124)])
def test_the_wait_for_the_migrations_ends_with_them_or_after_its_time(tmp_path, is_migrated, code):
    """It runs the command of the pods, in which a script stands for Python. It also retries what fails otherwise."""
    (worker, *_) = WORKERS
    (first,) = manifests.pod(by_name(DEVELOPMENT, "Deployment")[worker])["initContainers"]
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\nexit {0 if is_migrated else 1}\n')
    python.chmod(0o755)
    command = ["2" if word == "600" else word for word in first["command"]]
    assert command != first["command"]
    done = subprocess.run([*command, *first["args"]], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=60)
    assert done.returncode == code
    asked = set((tmp_path / "asked").read_text().splitlines())
    assert asked == {f"manage.py {WORKERS[worker].package} migrate --check"}


def test_migrate_check_fails_while_migrations_are_missing_and_applies_none():
    """What the wait relies on. The server has the roles and schemas of the suites, but no table of a service."""
    command = [sys.executable, "manage.py", PRODUCT.package, "migrate", "--check"]
    url = os.environ[SERVER_VARIABLE]
    done = subprocess.run(command, cwd=ROOT, env={**plain_environment(), "DATABASE_URL": url}, capture_output=True)
    assert done.returncode == 1, done.stderr
    with psycopg.connect(url) as connection:
        assert connection.execute(f"SELECT to_regclass('{PRODUCT.role}.product_svc_product')").fetchone() == (None,)


@overlays
@pytest.mark.parametrize("name", [*OWNERS, "migrate"])
def test_it_is_given_variables_that_exist_with_values_that_are_valid(overlay, name, made):
    files = {f"{variable}_FILE" for variable in SECRET}
    for container in manifests.containers(workloads(overlay)[name]):
        environment = environment_of(container, overlay, made[overlay])
        assert environment.keys() <= DEFAULTS | OF_DJANGO_AND_PROMETHEUS | files
        assert not environment.keys() & SECRET, "secrets are in files"
        assert parsed(environment)["PLATFORM_ENV"] == overlay.name


@owners
def test_production_starts_with_what_is_given(name, made, settings):
    service = OWNERS[name]
    environment = environment_of(main_container(workloads(PRODUCTION)[name]), PRODUCTION, made[PRODUCTION])
    given = service_settings(service.package, environment=environment)
    assert service.name in given["ALLOWED_HOSTS"], "the name that peers use"
    assert given["SECRET_KEY"] == (made[PRODUCTION] / "secret_key").read_text().strip()
    assert given["METRICS_TOKEN"]
    settings.SERVICE, settings.KEYS_DIR = service, made[PRODUCTION] / "keys"
    settings.SERVICE_KEY, settings.SERVICE_KEYS = "", ""
    production.check(SimpleNamespace(**given))


@overlays
@owners
def test_a_service_gets_its_own_database_and_key_alone(overlay, name, made):
    service, workload = OWNERS[name], workloads(overlay)[name]
    own = {"email-url"} if name == f"{NOTIFICATION.stem}-worker" else set()
    assert mounted_secrets(workload) == {"platform", f"{service.stem}-database", f"{service.name}-key", *own}
    for container in manifests.containers(workload):
        environment = environment_of(container, overlay, made[overlay])
        assert {each for each in environment if "DATABASE" in each} == {f"{service.database_url_variable}_FILE"}
        parts = database_parts(service, parsed(environment)) or {}
        assert (parts["user"], parts["dbname"]) == (service.role, "platform")
    container = main_container(workload)
    keys = {each["mountPath"]: each for each in container["volumeMounts"] if each["name"] == "key"}
    assert keys == {f"/keys/{service.name}": {"name": "key", "mountPath": f"/keys/{service.name}", "readOnly": True}}
    assert environment_of(container, overlay)["KEYS_DIR"] == "/keys"


@overlays
def test_the_migrations_alone_get_the_owners_secret(overlay, made):
    holders = {name for name, each in workloads(overlay).items() if "owner-database" in mounted_secrets(each)}
    assert holders == {"migrate"}
    container = main_container(workloads(overlay)["migrate"])
    values = parsed(environment_of(container, overlay, made[overlay]))
    assert values["DATABASE_URL"].startswith("postgresql://postgres:")
    assert all(values[service.database_url_variable] for service in SERVICES)
    assert container["command"] == ["python", "manage.py", "migrate"]


@overlays
@pytest.mark.parametrize("name", [*OWNERS, "migrate"])
def test_every_file_that_a_variable_names_is_in_a_mounted_secret(overlay, name, made):
    workload, secrets = workloads(overlay)[name], manifests.secret_files(overlay)
    mounted = mounted_secrets(workload)
    assert mounted <= secrets.keys(), "the overlay makes each"
    files = {f"{SECRETS}/{key}" for each in mounted for key in secrets[each]}
    for container in manifests.containers(workload):
        named = {text for each, text in environment_of(container, overlay).items() if each.endswith("_FILE")}
        assert named <= files
        assert SECRETS in {each["mountPath"] for each in container["volumeMounts"]}


@overlays
def test_every_secret_is_read_from_a_file_that_the_script_makes(overlay, made):
    for name, files in manifests.secret_files(overlay).items():
        for path in files.values():
            assert (made[overlay].parent / path).is_file(), name
    assert oct(made[overlay].stat().st_mode)[-3:] == "700"


@services
def test_the_secret_of_a_key_is_the_services_own_and_keeps_its_name(service, made):
    for overlay in OVERLAYS:
        (entry,) = [
            each
            for each in manifests.kustomization(overlay)["secretGenerator"]
            if each["name"] == f"{service.name}-key"
        ]
        assert entry["options"] == {"disableNameSuffixHash": True}, "running pods read new public keys"
        files = manifests.secret_files(overlay)[f"{service.name}-key"]
        assert files.keys() == {"private.json", "public.json"}
        assert all(f"/{service.name}/" in path for path in files.values())


def test_secrets_are_made_for_the_server_that_is_named(tmp_path):
    (tmp_path / "kustomization.yaml").write_text("")
    subprocess.run(
        [manifests.FOLDER / "make_secrets.sh", tmp_path],
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "POSTGRES_AT": "db.example.com:5433/shop"},
        check=True,
        capture_output=True,
    )
    urls = [(tmp_path / "secrets" / f"{each}_database_url").read_text() for each in ("order", "user")]
    urls.append((tmp_path / "secrets" / "database_url").read_text())
    assert all(url.strip().endswith("@db.example.com:5433/shop") for url in urls)


def test_the_script_refuses_what_is_no_overlay(tmp_path):
    done = subprocess.run([manifests.FOLDER / "make_secrets.sh", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Usage" in done.stderr
    assert list(tmp_path.iterdir()) == []


@overlays
@pytest.mark.parametrize("name", [*OWNERS, "migrate"])
def test_a_pod_has_no_rights(overlay, name):
    pod = manifests.pod(workloads(overlay)[name])
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    rights = pod["securityContext"]
    assert (rights["runAsNonRoot"], rights["runAsUser"], rights["fsGroup"]) == (True, int(user), int(user))
    assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & pod.keys()
    for container in manifests.containers(workloads(overlay)[name]):
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        (tmp,) = [each for each in container["volumeMounts"] if each["mountPath"] == "/tmp"]
        (volume,) = [each for each in pod["volumes"] if each["name"] == tmp["name"]]
        assert volume["emptyDir"]["medium"] == "Memory"
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        writable = [each for each in container["volumeMounts"] if each is not tmp and not each.get("readOnly")]
        assert writable == []
    for volume in pod["volumes"]:
        for kind in ("projected", "secret"):
            assert volume.get(kind, {"defaultMode": 0o440})["defaultMode"] == 0o440, "for the owner and the group"


def test_the_namespaces_refuse_pods_with_rights():
    for overlay in OVERLAYS:
        (namespace,) = by_name(overlay, "Namespace").values()
        assert namespace["metadata"]["name"] == manifests.kustomization(overlay)["namespace"]
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_command_for_one_overlay_does_not_reach_the_other():
    assert len({manifests.kustomization(overlay)["namespace"] for overlay in OVERLAYS}) == len(OVERLAYS)


def longest(probe: dict[str, Any]) -> int:
    """The seconds after which a probe has failed for good."""
    return probe["periodSeconds"] * probe["failureThreshold"]


@services
def test_a_web_is_asked_whether_it_lives_and_whether_it_is_ready(service):
    container = main_container(workloads(PRODUCTION)[service.name])
    paths = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    live, ready = {"path": "/health/live", "port": "http"}, {"path": "/health/ready", "port": "http"}
    assert paths == {"startup": live, "liveness": live, "readiness": ready}
    assert longest(container["startupProbe"]) >= 60
    assert longest(container["livenessProbe"]) > MAX_DEADLINE, "all threads may be busy for that long"
    drain = int(manifests.configuration(PRODUCTION)["DRAIN_SECONDS"])
    assert longest(container["readinessProbe"]) < drain, "it is noticed while it still answers"


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_asked_whether_it_lives_on_the_port_of_its_metrics(name):
    container = main_container(workloads(PRODUCTION)[name])
    ((port,), environment) = container["ports"], environment_of(container, PRODUCTION)
    assert (port["name"], str(port["containerPort"])) == ("metrics", environment["WORKER_METRICS_PORT"])
    assert environment["WORKER_METRICS_PORT"] == COMPOSE["x-worker-environment"]["WORKER_METRICS_PORT"]
    for kind in ("startup", "liveness", "readiness"):
        assert container[f"{kind}Probe"]["httpGet"] == {"path": "/health/live", "port": "metrics"}
        assert container[f"{kind}Probe"]["timeoutSeconds"] >= 3


@overlays
@owners
def test_a_pod_that_stops_has_time_to_finish_its_requests(overlay, name):
    tree = ast.parse((ROOT / "deploy" / "gunicorn.conf.py").read_text())
    assigned = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    drain = int(manifests.configuration(overlay)["DRAIN_SECONDS"])
    grace = manifests.pod(workloads(overlay)[name])["terminationGracePeriodSeconds"]
    assert grace > drain + assigned["graceful_timeout"]


@overlays
@owners
def test_a_rollout_takes_no_pod_away_before_its_successor_is_ready(overlay, name):
    spec = workloads(overlay)[name]["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    job = workloads(overlay)["migrate"]["spec"]
    assert spec["progressDeadlineSeconds"] >= MIGRATION_TIMEOUT_SECONDS
    assert job["activeDeadlineSeconds"] >= len(SERVICES) * MIGRATION_TIMEOUT_SECONDS
    assert job["template"]["spec"]["restartPolicy"] == "Never"


@owners
def test_pods_of_a_kind_are_spread_over_zones_and_nodes(name):
    workload = workloads(PRODUCTION)[name]
    spread = {each["topologyKey"]: each for each in manifests.pod(workload)["topologySpreadConstraints"]}
    assert spread.keys() == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for each in spread.values():
        assert each["labelSelector"]["matchLabels"] == manifests.labels_of(workload)
        assert workload["spec"]["selector"]["matchLabels"] == manifests.labels_of(workload)


@owners
def test_in_production_no_drain_of_nodes_takes_all_pods_of_a_kind(name):
    budget = by_name(PRODUCTION, "PodDisruptionBudget")[name]["spec"]
    assert budget["selector"]["matchLabels"] == manifests.labels_of(workloads(PRODUCTION)[name])
    assert budget["maxUnavailable"] == 1
    assert fewest(name) >= 2


def fewest(name: str) -> int:
    scaler = by_name(PRODUCTION, "HorizontalPodAutoscaler").get(name)
    return scaler["spec"]["minReplicas"] if scaler else workloads(PRODUCTION)[name]["spec"]["replicas"]


@services
def test_in_production_webs_are_scaled_by_their_cpu(service):
    scaler = by_name(PRODUCTION, "HorizontalPodAutoscaler")[service.name]["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": service.name}
    assert "replicas" not in workloads(PRODUCTION)[service.name]["spec"], "an apply would undo what it has done"
    (metric,) = scaler["metrics"]
    assert metric["resource"]["name"] == "cpu"


def test_postgres_allows_the_connections_of_development():
    """Of all pods, and of one more of each kind during a rollout."""
    values = parsed(manifests.configuration(DEVELOPMENT))
    needed = 2 * sum(capacity.connections_of(service, values) for service in SERVICES) + capacity.RESERVE
    (server,) = by_name(DEVELOPMENT, "StatefulSet").values()
    (setting,) = [each for each in main_container(server)["args"] if each.startswith("max_connections=")]
    assert int(setting.partition("=")[2]) >= needed + 3, "three are reserved for superusers"


def test_postgres_of_the_operator_allows_the_connections_of_production():
    (cluster,) = [each for each in manifests.documents(OPERATORS / "postgres.yaml") if each["kind"] == "Cluster"]
    allowed = int(cluster["spec"]["postgresql"]["parameters"]["max_connections"])
    most = generator.most_connections(parsed(manifests.configuration(PRODUCTION)))
    assert allowed >= most + 3, "three are reserved for superusers"


def test_the_bounds_of_the_autoscaler_are_those_that_connections_are_computed_with():
    for service in SERVICES:
        scaler = by_name(PRODUCTION, "HorizontalPodAutoscaler")[service.name]["spec"]
        assert scaler["maxReplicas"] == generator.MOST_WEBS
    for name in WORKERS:
        assert workloads(PRODUCTION)[name]["spec"]["replicas"] == generator.WORKERS


def test_postgres_of_development_is_that_of_compose():
    (server,) = by_name(DEVELOPMENT, "StatefulSet").values()
    container, composed = main_container(server), COMPOSE["services"]["postgres"]
    assert container["image"] == composed["image"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert environment["POSTGRES_DB"] == composed["environment"]["POSTGRES_DB"]
    assert environment["POSTGRES_INITDB_ARGS"] == composed["environment"]["POSTGRES_INITDB_ARGS"]
    assert container["readinessProbe"]["exec"]["command"] == composed["healthcheck"]["test"][1:]
    assert environment["POSTGRES_PASSWORD_FILE"] == f"{SECRETS}/postgres_password"


def test_the_hosts_of_the_ingress_are_those_that_services_take_and_links_name():
    (ingress,) = by_name(PRODUCTION, "Ingress").values()
    hosts = {rule["host"]: rule["http"]["paths"][0]["backend"]["service"]["name"] for rule in ingress["spec"]["rules"]}
    given = manifests.configuration(PRODUCTION)
    assert hosts == {given[s.public_url_variable].removeprefix("https://"): s.name for s in SERVICES}
    assert all(name.endswith(given["ALLOWED_HOSTS"]) for name in hosts)
    assert given["NUM_PROXIES"] == "1"
    (tls,) = ingress["spec"]["tls"]
    assert manifests.secret_files(PRODUCTION)[tls["secretName"]].keys() == {"tls.crt", "tls.key"}


def test_the_page_names_every_file():
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    files = [path for path in manifests.FOLDER.rglob("*") if path.is_file() and "secrets" not in path.parts]
    missing = [path.name for path in files if path.name not in page]
    assert missing == []


def test_the_component_says_that_it_is_not_validated():
    text = (OPERATORS / "kustomization.yaml").read_text()
    assert "NOT VALIDATED" in text
    standard = {"apps/v1", "v1", "batch/v1", "policy/v1", "autoscaling/v2", "networking.k8s.io/v1"}
    for overlay in OVERLAYS:
        assert {each["apiVersion"] for each in manifests.resources(overlay)} <= standard, "no CRD is needed"


def test_workers_are_scaled_by_a_metric_that_exists():
    named = set()
    for scaled in manifests.documents(OPERATORS / "workers.yaml"):
        (trigger,) = scaled["spec"]["triggers"]
        assert scaled["spec"]["scaleTargetRef"]["name"] in WORKERS
        named |= set(re.findall(r"max\((\w+)\{", trigger["metadata"]["query"]))
    metrics = (ROOT / "platform_core" / "observability" / "metrics_endpoint.py").read_text()
    assert named and all(f'"{name}"' in metrics for name in named)
