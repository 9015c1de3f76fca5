"""The NetworkPolicies of deploy/kubernetes allow what the access rules allow, and what pods need besides, and no more.

They are applied here as Kubernetes does it: a pod that a policy of a direction selects may do what one of these names.
"""

from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from platform_core.tools import kubernetes as generator
from platform_core.topology import NOTIFICATION, SERVICES
from tests import manifests
from tests.manifests import COMPONENT, DEVELOPMENT, NAME, OVERLAYS, by_name, main_container, workloads

WORKERS = {f"{service.stem}-worker": service for service in SERVICES if service.has_worker}
OWNERS = {service.name: service for service in SERVICES} | WORKERS

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
owners = pytest.mark.parametrize("name", OWNERS)


def selects(selector: dict[str, Any], labels: manifests.Labels) -> bool:
    matches = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    for each in selector.get("matchExpressions", []):
        assert each["operator"] == "In"
        matches = matches and labels.get(each["key"]) in each["values"]
    assert selector.keys() <= {"matchLabels", "matchExpressions"}
    return matches


class Place:
    """A pod of the platform, a pod in another namespace, or an address."""

    def __init__(self, *, pod: manifests.Labels | None = None, space: manifests.Labels | None = None, ip: str = ""):
        self.pod, self.space, self.ip = pod, space, ip

    def is_peer(self, peer: dict[str, Any]) -> bool:
        if "ipBlock" in peer:
            block, address = peer["ipBlock"], ip_address(self.ip or "192.0.2.1")
            inside = self.ip and address in ip_network(block["cidr"])
            return bool(inside) and not any(address in ip_network(each) for each in block.get("except", []))
        if "namespaceSelector" in peer:
            assert peer.keys() == {"namespaceSelector"}
            return self.space is not None and selects(peer["namespaceSelector"], self.space)
        return self.pod is not None and selects(peer["podSelector"], self.pod)


def is_allowed(overlay: Path, direction: str, pod: manifests.Labels, other: Place, ports: set[Any]) -> bool:
    """``ports`` are the number and the name of one port."""
    policies = [each["spec"] for each in by_name(overlay, "NetworkPolicy").values()]
    for_it = [each for each in policies if direction in each["policyTypes"] and selects(each["podSelector"], pod)]
    rules = [rule for policy in for_it for rule in policy.get(direction.lower(), [])]
    peers = "from" if direction == "Ingress" else "to"
    return not for_it or any(
        (peers not in rule or any(map(other.is_peer, rule[peers])))
        and ("ports" not in rule or any(is_port(each, ports) for each in rule["ports"]))
        for rule in rules
    )


def is_port(given: dict[str, Any], ports: set[Any]) -> bool:
    if "endPort" in given:
        return any(given["port"] <= each <= given["endPort"] for each in ports if isinstance(each, int))
    return given["port"] in ports


def reaches(overlay: Path, caller: manifests.Labels, callee: manifests.Labels, port: int, name: str = "http") -> bool:
    out = is_allowed(overlay, "Egress", caller, Place(pod=callee), {port, name})
    return out and is_allowed(overlay, "Ingress", callee, Place(pod=caller), {port, name})


@overlays
def test_a_service_reaches_those_that_the_access_rules_let_it_call_and_no_other(overlay):
    pods = {name: manifests.labels_of(each) for name, each in workloads(overlay).items()}
    expected = {
        (caller, callee.name)
        for caller, callee in product(OWNERS, SERVICES)
        if OWNERS[caller] is not callee and OWNERS[caller] in generator.call_graph()[callee]
    }
    ways = list(product(pods, SERVICES))
    out = {
        (caller, callee.name)
        for caller, callee in ways
        if is_allowed(overlay, "Egress", pods[caller], Place(pod=pods[callee.name]), {callee.port, "http"})
    }
    into = {
        (caller, callee.name)
        for caller, callee in ways
        if is_allowed(overlay, "Ingress", pods[callee.name], Place(pod=pods[caller]), {callee.port, "http"})
    }
    assert out == into == expected


def test_the_call_graph_is_what_the_architecture_says():
    """In words of its own, so that a rule which lets too many call, or too few, is noticed here."""
    graph = {callee: set(callers) for callee, callers in generator.call_graph().items()}
    assert graph == {service: set(SERVICES) - {service} for service in SERVICES}, "the bar's search asks all services"


@overlays
def test_what_no_policy_names_is_refused(overlay):
    policies = by_name(overlay, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    stranger = {NAME: "stranger"}
    for name, workload in workloads(overlay).items():
        labels = manifests.labels_of(workload)
        for port in (80, 443, 5432, 8001, 9464):
            assert not reaches(overlay, stranger, labels, port), name
            assert not is_allowed(overlay, "Ingress", labels, Place(space={"other": "yes"}), {port, "http", "metrics"})
        assert not is_allowed(overlay, "Egress", labels, Place(ip="169.254.169.254"), {80}), "the provider's metadata"


@overlays
def test_the_worker_of_notifications_alone_reaches_mail_servers_and_webhooks(overlay):
    def who(ip: str, port: int) -> set[str]:
        pods = workloads(overlay).items()
        return {n for n, w in pods if is_allowed(overlay, "Egress", manifests.labels_of(w), Place(ip=ip), {port})}

    only = {f"{NOTIFICATION.stem}-worker"}
    assert who("9.9.9.9", 443) == who("2606:4700::1", 8443) == only
    assert who("10.1.2.3", 587) == who("9.9.9.9", 25) == only
    for private in ("10.1.2.3", "172.20.0.1", "192.168.1.1", "100.64.0.1", "127.0.0.1", "::1", "fd00::1", "fe80::1"):
        assert who(private, 443) == set()


def test_what_webhooks_may_not_reach_is_not_public():
    for everything, parts in generator.PRIVATE_RANGES.items():
        for part in parts:
            assert not ip_network(part).is_global
            assert ip_network(part).subnet_of(ip_network(everything))


@overlays
def test_postgres_and_names_are_reached_by_webs_workers_and_migrations(overlay):
    postgres = {NAME: "postgres"}
    for workload in workloads(overlay).values():
        labels = manifests.labels_of(workload)
        if overlay is DEVELOPMENT:
            assert reaches(overlay, labels, postgres, 5432, "postgres")
        else:
            assert is_allowed(overlay, "Egress", labels, Place(ip="10.3.2.1"), {5432})
        names = Place(space={"kubernetes.io/metadata.name": "kube-system"})
        assert is_allowed(overlay, "Egress", labels, names, {53})
        assert not is_allowed(overlay, "Egress", labels, names, {443})


@overlays
@owners
def test_the_proxy_reaches_webs_and_the_monitoring_webs_and_workers(overlay, name):
    labels = manifests.labels_of(workloads(overlay)[name])
    (port,) = main_container(workloads(overlay)[name])["ports"]
    ports = {port["containerPort"], port["name"]}
    is_web = labels[COMPONENT] == "web"
    assert is_allowed(overlay, "Ingress", labels, Place(space={"platform/monitoring": "yes"}), ports)
    assert is_allowed(overlay, "Ingress", labels, Place(space={"platform/ingress": "yes"}), ports) is is_web
    assert is_allowed(overlay, "Egress", labels, Place(space={"platform/monitoring": "yes"}), {4318}), "traces"
