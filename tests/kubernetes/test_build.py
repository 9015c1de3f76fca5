"""`kubectl kustomize` builds each overlay, and the schemas of Kubernetes accept what it builds. Nothing is applied."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from platform_core.topology import SERVICES
from tests import manifests
from tests.kubernetes.conftest import Build
from tests.manifests import OVERLAYS, PRODUCTION, Resource

VERSIONS = ("1.31", "1.33", "1.37")
"""The oldest that the page names, that of kubectl, and the newest that the schemas know."""
CUSTOM = re.compile(r"(postgresql\.cnpg\.io|keda\.sh|gateway\.networking\.k8s\.io|monitoring\.coreos\.com)/")

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)


def identity(resource: Resource) -> tuple[str, str]:
    return resource["kind"], resource["metadata"]["name"]


def plain(value: Any) -> Any:
    """Without the hashes that kustomize appends to names, its namespace and its label."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in ("namespace", "app.kubernetes.io/part-of")}
        return {key: plain(each) for key, each in kept.items() if each != {"app.kubernetes.io/part-of": "platform"}}
    if isinstance(value, list):
        kept = list(map(plain, value))  # the order of named things does not matter, that of words of a command does
        return sorted(kept, key=partial(json.dumps, sort_keys=True)) if kept and isinstance(kept[0], dict) else kept
    return re.sub(r"-[2456789bcdfghkmt]{10}$", "", value) if isinstance(value, str) else value


@overlays
@pytest.mark.parametrize("version", VERSIONS)
def test_the_schemas_accept_all_resources(build: Build, folder: Path, overlay: Path, version: str) -> None:
    built = build(folder / "overlays" / overlay.name)
    assert len(built) > 30
    for resource in built:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schemas_refuse_a_member_that_does_not_exist(build: Build, folder: Path) -> None:
    (deployment, *_) = [each for each in build(folder / "overlays" / PRODUCTION.name) if each["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readyProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[1], strict=True)


@overlays
def test_the_tests_of_the_library_read_the_files_as_kustomize_does(build: Build, folder: Path, overlay: Path) -> None:
    made = {"Secret", "ConfigMap"}
    built = {identity(each): plain(each) for each in build(folder / "overlays" / overlay.name)}
    read = {identity(each): plain(each) for each in manifests.resources(overlay)}
    assert {each for each in built if each[0] not in made} == read.keys()
    for each in read:
        assert built[each] == read[each], each


@overlays
def test_the_generated_secrets_and_variables_are_those_that_the_tests_of_the_library_read(
    build: Build, folder: Path, overlay: Path
) -> None:
    built = build(folder / "overlays" / overlay.name)
    (variables,) = [each["data"] for each in built if each["kind"] == "ConfigMap"]
    assert variables == manifests.configuration(overlay)
    secrets = {plain(each["metadata"]["name"]): set(each["data"]) for each in built if each["kind"] == "Secret"}
    assert secrets == {name: set(keys) for name, keys in manifests.secret_files(overlay).items()}


@overlays
def test_every_secret_and_config_map_that_a_pod_names_is_built(build: Build, folder: Path, overlay: Path) -> None:
    built = build(folder / "overlays" / overlay.name)
    known = {identity(each) for each in built}
    for each in built:
        named = {("Secret", name) for name in named_secrets(each)}
        named |= {("ConfigMap", source["configMapRef"]["name"]) for c in containers(each) for source in c["envFrom"]}
        assert named <= known, identity(each)


def named_secrets(workload: Resource) -> Iterator[str]:
    for volume in manifests.pod(workload).get("volumes", []):
        yield from (source["secret"]["name"] for source in volume.get("projected", {}).get("sources", []))
        if "secret" in volume:
            yield volume["secret"]["secretName"]


def containers(workload: Resource) -> list[dict[str, Any]]:
    return [each for each in manifests.containers(workload) if "envFrom" in each]


def test_a_changed_secret_changes_its_name_so_that_pods_are_replaced_but_a_changed_key_does_not(
    build: Build, folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "kubernetes"
    shutil.copytree(folder, copy)
    overlay = copy / "overlays" / PRODUCTION.name

    def names() -> set[str]:
        return {each["metadata"]["name"] for each in build(overlay) if each["kind"] == "Secret"}

    before = names()
    (overlay / "secrets" / "secret_key").write_text("other")
    for file in (overlay / "secrets" / "keys").rglob("public.json"):
        file.write_text("{}")
    changed = before - names()
    assert {plain(name) for name in changed} == {"platform"}


def test_the_component_builds_names_its_secrets_and_replaces_the_ingress(
    build: Build, folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "kubernetes"
    shutil.copytree(folder, copy)
    overlay = copy / "overlays" / PRODUCTION.name
    file = overlay / "kustomization.yaml"
    text = file.read_text()
    changed = re.sub(r"^# (components: .*)$", r"\1", text, flags=re.MULTILINE)
    assert changed != text
    file.write_text(changed.replace("  - path: postgres-network.yaml\n", ""))
    built = {identity(each): each for each in build(overlay)}
    assert ("Ingress", "platform") not in built
    custom = {each for each in built if CUSTOM.match(built[each]["apiVersion"])}
    kinds = {"Cluster", "Pooler", "ScaledObject", "Gateway", "HTTPRoute", "ServiceMonitor", "PodMonitor"}
    assert {kind for kind, _ in custom} == {*kinds, "PrometheusRule"}
    for each in built.keys() - custom:
        kubernetes_validate.validate(built[each], VERSIONS[1], strict=True)
    secrets = {name for kind, name in built if kind == "Secret"}
    assert built["ServiceMonitor", "web"]["spec"]["endpoints"][0]["authorization"]["credentials"]["name"] in secrets
    (worker,) = built["PodMonitor", "worker"]["spec"]["podMetricsEndpoints"]
    assert worker["authorization"]["credentials"]["name"] in secrets
    (listener,) = built["Gateway", "platform"]["spec"]["listeners"]
    assert listener["tls"]["certificateRefs"][0]["name"] in secrets
    routes = {name: each for (kind, name), each in built.items() if kind == "HTTPRoute"}
    assert routes.keys() == {service.name for service in SERVICES}
    (rule,) = built["NetworkPolicy", "postgres"]["spec"]["egress"]
    assert rule["to"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "postgres"}}}]


@overlays
def test_kubectl_reads_what_it_builds(kubectl: Path, folder: Path, overlay: Path) -> None:
    """Without a server: it decodes each document and adds a label."""
    path = folder / "overlays" / overlay.name
    built = subprocess.run([kubectl, "kustomize", path], capture_output=True, check=True, timeout=120).stdout
    command = [kubectl, "label", "--local", "--filename", "-", "read=yes", "--output", "name"]
    done = subprocess.run(command, input=built, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout.splitlines()) == built.count(b"\nkind: ") + built.startswith(b"kind: ")
