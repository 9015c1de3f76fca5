"""Generates the parts of deploy/kubernetes that follow from the topology and the access rules.

`platform_core.tools.generate` puts them into the files. Only what differs between the services is generated; what all
pods have in common stands in the patches of deploy/kubernetes/base.
"""

from collections.abc import Iterator, Mapping, Sequence
from textwrap import indent
from typing import Any

from platform_core.auth.rules import rules_of
from platform_core.stack import platform_connections, web_connections, worker_connections
from platform_core.topology import NOTIFICATION, SERVICES, Service

SECRETS = "/secrets"
"""The folder of the pods' secrets."""
DOMAIN = "shop.example.com"
"""The domain of the example in overlays/production."""
PRIVATE_RANGES = {
    "0.0.0.0/0": ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
    "::/0": ("::1/128", "fc00::/7", "fe80::/10"),
}
"""What a webhook must not reach, of all addresses: private ones and those of the machine and its provider."""
MOST_WEBS, WORKERS = 6, 2
"""The most webs of a service, and the workers of one, in overlays/production."""
_NAME, _COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"


def call_graph() -> dict[Service, tuple[Service, ...]]:
    """Each service with the services that may call it by the access rules, in the order of the topology."""
    found = {}
    for callee in SERVICES:
        callers = {caller for rule in rules_of(callee, callee.access_module) for caller in rule.services}
        found[callee] = tuple(service for service in SERVICES if service in callers and service is not callee)
    return found


def deployments(own_secrets: Mapping[str, Sequence[str]]) -> str:
    """The Deployments of all webs and workers, and the Services of the webs.

    ``own_secrets`` has the secret variables that one Deployment gets alone, by its name.
    """
    found = []
    for service in SERVICES:
        found += [_deployment(service.name, service, "web", own_secrets), _service(service)]
        if service.has_worker:
            found.append(_deployment(f"{service.stem}-worker", service, "worker", own_secrets))
    return _documents(found)


def _deployment(name: str, service: Service, kind: str, own_secrets: Mapping[str, Sequence[str]]) -> str:
    labels, own = _labels(service, kind), own_secrets.get(name, ())
    secrets = ("platform", f"{service.stem}-database", *map(secret_name, own))
    sources = ", ".join(f"{{secret: {{name: {each}}}}}" for each in secrets)
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels: {labels}
spec:
  selector:
    matchLabels: {labels}
  template:
    metadata:
      labels: {labels}
    spec:
      topologySpreadConstraints:
{indent(_spread(labels), "        ")}
{indent(_first_migrated(service), "      ") if kind == "worker" else ""}\
      containers:
        - name: {kind}
{indent(_container(service, kind, own), "          ")}
      volumes:
        - name: secrets
          projected:
            defaultMode: 0440
            sources: [{sources}]
        - name: key
          secret: {{secretName: {service.name}-key, defaultMode: 0440}}"""


def _labels(service: Service, kind: str) -> str:
    return f"{{{_NAME}: {service.name}, {_COMPONENT}: {kind}}}"


def _spread(labels: str) -> str:
    keys = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    return "\n".join(
        f"- {{maxSkew: 1, topologyKey: {key}, whenUnsatisfiable: ScheduleAnyway, matchLabelKeys: [pod-template-hash], "
        f"labelSelector: {{matchLabels: {labels}}}}}"
        for key in keys
    )


def _first_migrated(service: Service) -> str:
    """A worker has no readiness, so it begins only when the schema is that of its own code."""
    return f"""\
initContainers:
  - name: migrated
    args: [{service.package}]
    env:
{indent(_database(service), "      ")}
"""


def secret_name(variable: str) -> str:
    """The Secret of a variable that one Deployment gets alone: `email-url` for EMAIL_URL."""
    return variable.lower().replace("_", "-")


def _container(service: Service, kind: str, own: Sequence[str]) -> str:
    lines = []
    if kind == "web":
        lines.append(f"ports: [{{name: http, containerPort: {service.port}}}]")
    else:
        lines.append(f"command: [python, manage.py, {service.package}, worker]")
    lines.append("env:")
    if kind == "web":
        lines.append(f"  - {{name: DJANGO_SETTINGS_MODULE, value: {service.settings_module}}}")
    lines.append(indent(_database(service), "  "))
    lines += [f"  - {from_file(variable)}" for variable in own]
    lines.append("volumeMounts:")
    lines.append(f"  - {{name: key, mountPath: /keys/{service.name}, readOnly: true}}")
    return "\n".join(lines)


def _database(service: Service) -> str:
    return f"- {from_file(service.database_url_variable)}"


def from_file(variable: str) -> str:
    """The entry of a container's ``env`` that reads a secret variable from its file."""
    return f"{{name: {variable}_FILE, value: {SECRETS}/{variable.lower()}}}"


def _service(service: Service) -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata:
  name: {service.name}
  labels: {_labels(service, "web")}
spec:
  selector: {_labels(service, "web")}
  ports: [{{name: http, port: {service.port}, targetPort: http, appProtocol: http}}]"""


def policies() -> str:
    """A NetworkPolicy for each service that is called, and one for each that calls."""
    graph = call_graph()
    found = [_called(callee, callers) for callee, callers in graph.items() if callers]
    for caller in SERVICES:
        callees = [callee for callee, callers in graph.items() if caller in callers]
        if callees:
            found.append(_calling(caller, callees))
    return _documents(found)


def _called(callee: Service, callers: tuple[Service, ...]) -> str:
    names = ", ".join(caller.name for caller in callers)
    return f"""\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {callee.name}-is-called
spec:
  podSelector:
    matchLabels: {_labels(callee, "web")}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchExpressions:
              - {{key: {_NAME}, operator: In, values: [{names}]}}
      ports: [{{port: {callee.port}, protocol: TCP}}]"""


def _calling(caller: Service, callees: list[Service]) -> str:
    rules = "\n".join(
        f"    - to: [{{podSelector: {{matchLabels: {_labels(callee, 'web')}}}}}]\n"
        f"      ports: [{{port: {callee.port}, protocol: TCP}}]"
        for callee in callees
    )
    return f"""\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {caller.name}-calls
spec:
  podSelector:
    matchLabels: {{{_NAME}: {caller.name}}}
  policyTypes: [Egress]
  egress:
{rules}"""


def policies_of_webhooks() -> str:
    """The NetworkPolicy that lets the worker of notification-service reach public addresses, on any port."""
    blocks = "\n".join(
        f"        - ipBlock: {{cidr: '{block}', except: {list(parts)}}}" for block, parts in PRIVATE_RANGES.items()
    )
    return f"""\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: webhooks
spec:
  podSelector:
    matchLabels: {_labels(NOTIFICATION, "worker")}
  policyTypes: [Egress]
  egress:
    - to:
{blocks}
      ports: [{{port: 1, endPort: 65535, protocol: TCP}}]"""


def availability() -> str:
    """For each web a HorizontalPodAutoscaler and a PodDisruptionBudget, for each worker the latter."""
    found = []
    for service in SERVICES:
        found += [_autoscaler(service), _budget(service, "web", service.name)]
        if service.has_worker:
            found.append(_budget(service, "worker", f"{service.stem}-worker"))
    return _documents(found)


def _autoscaler(service: Service) -> str:
    return f"""\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {service.name}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {service.name}}}"""


def _budget(service: Service, kind: str, name: str) -> str:
    return f"""\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {name}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {_labels(service, kind)}"""


def most_connections(values: Mapping[str, Any]) -> int:
    """The most connections to Postgres that the production overlay opens, if all services share one server.

    During a rollout each Deployment has one pod more. ``values`` are those of `environment.parsed`.
    """
    return platform_connections(values, webs=MOST_WEBS + 1, workers=WORKERS + 1)


def connections_table(values: Mapping[str, Any]) -> str:
    """What Postgres must allow, as two tables in Markdown. ``values`` are those of `environment.parsed`."""
    doubled = platform_connections(values, webs=2, workers=2)
    sums = (
        ("development, with one pod of each kind", platform_connections(values, webs=1, workers=1)),
        ("development, while a version is replaced", doubled),
        ("production, with 2 webs and 2 workers of each service", doubled),
        (f"production, with {MOST_WEBS} webs of each service, while a version is replaced", most_connections(values)),
    )
    web = web_connections(values)
    each = [f"| {s.name} | {web} | {worker_connections(s, values) or '–'} |" for s in SERVICES]
    lines = ["| service | each web | each worker |", "|---|---:|---:|", *each, ""]
    lines += ["| pods | connections of all |", "|---|---:|", *(f"| {what} | {number} |" for what, number in sums)]
    return "\n".join(lines)


def secret_files() -> str:
    """The entries of kustomize's ``secretGenerator`` for each service: its database and its key.

    A key's Secret keeps its name, so that a new public key reaches the pods that run, too.
    """
    return "\n".join(line for service in SERVICES for line in _secret_files(service))


def _secret_files(service: Service) -> Iterator[str]:
    key = f"secrets/keys/{service.name}"
    yield f"  - {{name: {service.stem}-database, files: [secrets/{service.database_url_variable.lower()}]}}"
    yield f"  - name: {service.name}-key"
    yield f"    files: [private.json={key}/private.json, public.json={key}/public.json]"
    yield "    options: {disableNameSuffixHash: true}"


def ingress_rules() -> str:
    """The rules of the Ingress: a host for each service."""
    return "\n".join(
        f"    - host: {host(service)}\n"
        "      http:\n"
        f"        paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {service.name}, "
        "port: {name: http}}}}]"
        for service in SERVICES
    )


def host(service: Service) -> str:
    """The host name under which browsers reach a service, in the example's domain."""
    return f"{service.stem}.{DOMAIN}"


def routes() -> str:
    """The HTTPRoutes of the Gateway API: one for each service."""
    return _documents([_route(service) for service in SERVICES])


def _route(service: Service) -> str:
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {service.name}
spec:
  parentRefs: [{{name: platform}}]
  hostnames: [{host(service)}]
  rules:
    - backendRefs: [{{name: {service.name}, port: {service.port}}}]
      timeouts: {{request: 40s}}"""


def scaled_workers() -> str:
    """KEDA's ScaledObjects: workers by the number of their waiting messages, which is counted up to 1000."""
    return _documents([_scaled(service) for service in SERVICES if service.lanes])


def _scaled(service: Service) -> str:
    query = f'max(outbox_pending_messages{{app="{service.name}"}})'  # all webs report the same number
    return f"""\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {service.stem}-worker
spec:
  scaleTargetRef: {{name: {service.stem}-worker}}
  minReplicaCount: 2
  maxReplicaCount: 5
  triggers:
    - type: prometheus
      metadata:
        serverAddress: http://prometheus.monitoring:9090
        threshold: "200"
        query: '{query}'"""


def _documents(found: list[str]) -> str:
    return "\n---\n".join(found)
