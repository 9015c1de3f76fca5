"""``manage.py generate``: generates files, and parts of files, from the topology and the code.

In YAML, TOML and .env a generated part lies between the lines ``# begin generated: NAME`` and ``# end generated:
NAME``, in Markdown between HTML comments with the same words. A single line is generated if it ends with
``# generated: NAME``. The rest of these files is written by hand and not changed. The OpenAPI documents in docs/openapi
are generated completely.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import indent
from typing import Any

from platform_core.conf.environment import ROOT, VARIABLES, configuration_table, parsed, shown_default
from platform_core.tools import kubernetes, sizing
from platform_core.tools.access_page import access_table, admin_table
from platform_core.topology import SERVICES, Service

DOCUMENTS = Path("docs", "openapi")
SERVICES_WITH_WORKER = tuple(service for service in SERVICES if service.has_worker)
PACKAGES = tuple(service.package for service in SERVICES)
CONTAINER_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "user-service": ("SIGN_UPS_PER_HOUR", "EMAIL_VERIFICATION", "BREACHED_PASSWORDS"),
    "order-service": ("ORDER_MOST_PIECES", "ORDER_MOST_OPEN"),
    "user-worker": ("ACCOUNT_LINKS_URL", "EMAIL_VERIFICATION"),
    "notification-service": ("SHOP_NAME",),
    "notification-worker": ("EMAIL_URL", "DEFAULT_FROM_EMAIL", "SHOP_NAME"),
}
"""Variables that compose passes on to one container only. Those for all containers are in compose.yaml."""
SECRET = frozenset(variable.name for variable in VARIABLES if variable.secret)
KUBERNETES = "deploy/kubernetes"
BALANCER_OFFSET = 1000
"""Between the port of a service and that of the balancer for it."""
ALERTS = Path("deploy", "monitoring", "alerts.yml")

_PARTS = re.compile(
    r"(?P<begin>^[^\n]*\bbegin generated: (?P<block>[\w ]+?)(?: -->)?\n).*?(?=^[^\n]*\bend generated: (?P=block)\b)"
    r"|^[^\n]*?(?P<mark> # generated: (?P<name>[\w ]+))$",
    re.MULTILINE | re.DOTALL,
)


class GenerateError(Exception):
    """A file has no marks for a generated part, or what is to be generated cannot be."""


def generated_files(*, documents: bool = True) -> dict[Path, str]:
    """The contents of all generated files, by their paths relative to the project's root. Raises GenerateError.

    With ``documents=False`` the OpenAPI documents are left out, because each takes a process and some seconds.
    """
    found = {Path(name): with_parts(name, (ROOT / name).read_text()) for name in PARTS}
    return found | (openapi_documents() if documents else {})


def differing(files: Mapping[Path, str]) -> list[Path]:
    """The files whose content on disk is different."""
    return [path for path, content in files.items() if not _contains(ROOT / path, content)]


def write(files: Mapping[Path, str]) -> list[Path]:
    """Write the files that differ. Returns their paths."""
    written = differing(files)
    for path in written:
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(files[path])
    return written


def _contains(path: Path, content: str) -> bool:
    return path.exists() and path.read_text() == content


def with_parts(name: str, text: str) -> str:
    """The text of a file with current generated parts. Raises GenerateError if a mark is missing or unknown."""
    wanted = dict(PARTS[name])

    def put(found: re.Match[str]) -> str:
        part = found["block"] or found["name"]
        if part not in wanted:
            raise GenerateError(f"{name}: the generated part {part!r} is not known, or marked twice.")
        try:
            content = wanted.pop(part)()
        except sizing.SizingError as error:
            raise GenerateError(f"{name}: {error}") from None
        return f"{content}{found['mark']}" if found["name"] else f"{found['begin']}{content}\n"

    changed = _PARTS.sub(put, text)
    if wanted:
        raise GenerateError(f"{name}: the marks of the generated part {next(iter(wanted))!r} are missing.")
    return changed


def openapi_documents() -> dict[Path, str]:
    """The files with the OpenAPI documents of all services. Raises GenerateError."""
    with ThreadPoolExecutor(2) as pool:
        documents = list(pool.map(lambda service: openapi_document(service.package)[0], SERVICES))
    return {document_path(service): as_text(document) for service, document in zip(SERVICES, documents, strict=True)}


def openapi_document(package: str) -> tuple[dict[str, Any], str]:
    """A service's OpenAPI document, and drf-spectacular's warnings as text. Raises GenerateError."""
    command = [sys.executable, "manage.py", package, "spectacular", "--validate", "--fail-on-warn"]
    done = subprocess.run(
        [*command, "--format", "openapi-json"],
        cwd=ROOT,
        env=_plain_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise GenerateError(f"The OpenAPI document of {package} cannot be generated:\n{done.stderr}")
    return json.loads(done.stdout), done.stderr


def document_path(service: Service) -> Path:
    """The path of a service's OpenAPI document, relative to the project's root."""
    return DOCUMENTS / f"{service.name}.json"


def as_text(document: Mapping[str, Any]) -> str:
    """The text of the file with an OpenAPI document: indented JSON."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _plain_environment() -> dict[str, str]:
    """The environment without the platform's variables, so that a document does not depend on them."""
    ours = {variable.name for variable in VARIABLES} | {"DJANGO_SETTINGS_MODULE"}
    return {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in ours}


def services_table() -> str:
    """The services as a table in Markdown, for the docs."""
    rows = [f"| {s.name} | `{s.package}` | {s.port} | {s.purpose} |" for s in SERVICES]
    return "\n".join(["| service | package | port | what it is for |", "|---|---|---|---|", *rows])


def _env_example() -> str:
    parts = [f"# {variable.meaning}\n#{variable.name}={shown_default(variable)}" for variable in VARIABLES]
    return "\n\n".join(parts)


def _env_passwords() -> str:
    return "\n\n".join(
        f"# The password of {service.name}'s role; `make up` sets it at each start.\n#{_password(service)}=development"
        for service in SERVICES
    )


def _password(service: Service) -> str:
    return f"{service.stem.upper()}_DATABASE_PASSWORD"


def _each(line: Callable[[Service], str], separator: str = "\n") -> Callable[[], str]:
    return lambda: separator.join(line(service) for service in SERVICES)


def _listed(before: str, names: tuple[str, ...], quote: str = '"') -> Callable[[], str]:
    return lambda: f"{before}[{', '.join(f'{quote}{name}{quote}' for name in names)}]"


def _compose_database(service: Service) -> str:
    role = f"postgresql://{service.role}:${{{_password(service)}:-development}}"
    return (
        f"x-{service.stem}-database: &{service.stem}-database\n"
        f"  {service.database_url_variable}: {role}@${{DATABASE_AT:-postgres:5432}}/platform\n"
        f"  {service.direct_url_variable}: {role}@postgres:5432/platform"
    )


def _pooler_users() -> str:
    users = [f'      "{service.role}" "${{{_password(service)}:-development}}"' for service in SERVICES]
    return "\n".join(["  pooler_users:", "    content: |", *users])


def _production_database(service: Service) -> str:
    variable = service.database_url_variable
    anchor = f"x-{service.stem}-database: &{service.stem}-database"
    return f'{anchor}\n{_from_file(variable, "  ")}\n  {service.direct_url_variable}: ""'


def _from_file(variable: str, indent: str) -> str:
    return f'{indent}{variable}: ""\n{indent}{variable}_FILE: /run/secrets/{variable.lower()}'


def _containers(container: Callable[[Service, str], Iterator[str]]) -> Callable[[], str]:
    """The entries of all webs and workers, as ``container`` writes them."""

    def text() -> str:
        kinds = [(service, kind) for service in SERVICES for kind in ("web", "worker")]
        found = [container(service, kind) for service, kind in kinds if kind == "web" or service.has_worker]
        return "\n\n".join("\n".join(lines) for lines in found)

    return text


def _name(service: Service, kind: str) -> str:
    return service.name if kind == "web" else f"{service.stem}-worker"


def _compose_container(service: Service, kind: str) -> Iterator[str]:
    name = _name(service, kind)
    yield f"  {name}:"
    yield f"    <<: *{'app' if kind == 'web' else 'worker'}"
    if kind == "web":
        yield f'    ports: ["127.0.0.1:{service.port}:{service.port}"]'
    else:
        yield f"    command: [python, manage.py, {service.package}, worker]"
    yield "    environment:"
    yield f"      <<: [*{kind}-environment, *{service.stem}-database]"
    if kind == "web":
        yield f"      DJANGO_SETTINGS_MODULE: {service.settings_module}"
    for variable in CONTAINER_VARIABLES.get(name, ()):
        yield f"      {variable}: ${{{variable}:-}}"
    yield f'    volumes: ["{service.stem}-keys:/keys/{service.name}:ro"]'


def _production_container(service: Service, kind: str) -> Iterator[str]:
    own = [variable for variable in CONTAINER_VARIABLES.get(_name(service, kind), ()) if variable in SECRET]
    yield f"  {_name(service, kind)}:"
    yield "    <<: *limits"
    yield "    environment:"
    yield f"      <<: [*{kind}-environment, *{service.stem}-database]"
    for variable in own:
        yield _from_file(variable, "      ")
    secrets = ["secret_key", "metrics_token", service.database_url_variable.lower(), *map(str.lower, own)]
    yield f"    secrets: [{', '.join(secrets)}]"


def _balanced(service: Service) -> str:
    return (
        f"listen {service.name}\n"
        f'    bind "${{BALANCER_ADDRESS}}:{service.port + BALANCER_OFFSET}"\n'
        f'    server a "${{HOST_A}}:{service.port}"\n'
        f'    server b "${{HOST_B}}:{service.port}"'
    )


def _own_secrets() -> dict[str, list[str]]:
    """The secret variables that one container gets alone, by its name."""
    return {
        name: [variable for variable in variables if variable in SECRET]
        for name, variables in CONTAINER_VARIABLES.items()
    }


def _alert_groups() -> str:
    """The alert rules, indented for the `spec` of a PrometheusRule."""
    text = (ROOT / ALERTS).read_text()
    return indent(text[text.index("groups:") :].rstrip(), "  ")


PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "compose.yaml": {
        "URLs": _each(lambda s: f"  {s.url_variable}: http://{s.name}:{s.port}"),
        "public URLs": _each(lambda s: f"  {s.public_url_variable}: ${{{s.public_url_variable}:-}}"),
        "databases": _each(_compose_database),
        "databases to migrate": _each(lambda s: f"        - *{s.stem}-database"),
        "key volumes": _each(lambda s: f"      - {s.stem}-keys:/keys/{s.name}"),
        "services": _containers(_compose_container),
        "pooler users": _pooler_users,
        "volumes": _each(lambda s: f"  {s.stem}-keys:"),
    },
    "compose.prod.yaml": {
        "databases": _each(_production_database),
        "databases to migrate": _each(lambda s: f"        - *{s.stem}-database"),
        "secrets of migrate": _each(lambda s: f"      - {s.database_url_variable.lower()}"),
        "services": _containers(_production_container),
        "secrets": _each(lambda s: "  {0}:\n    file: ./secrets/{0}".format(s.database_url_variable.lower())),
    },
    "deploy/monitoring/prometheus.yml": {
        "webs": _each(lambda s: f'      - {{targets: ["{s.name}:{s.port}"], labels: {{app: {s.name}}}}}'),
        "workers": _listed("      - names: ", tuple(f"{s.stem}-worker" for s in SERVICES_WITH_WORKER), quote=""),
    },
    "deploy/nginx/nginx.conf": {"services": _each(lambda s: f'        "~^{s.stem}\\." {s.name}:{s.port};')},
    "deploy/haproxy/haproxy.cfg": {"services": _each(_balanced, "\n\n")},
    f"{KUBERNETES}/base/kustomization.yaml": {
        "URLs": _each(lambda s: f"      - {s.url_variable}=http://{s.name}:{s.port}"),
    },
    f"{KUBERNETES}/base/services.yaml": {"services": lambda: kubernetes.deployments(_own_secrets())},
    f"{KUBERNETES}/base/migrate.yaml": {
        "databases": _each(lambda s: f"            - {kubernetes.from_file(s.database_url_variable)}"),
        "secrets": _each(lambda s: f"              - secret: {{name: {s.stem}-database}}"),
    },
    f"{KUBERNETES}/base/network.yaml": {"calls": kubernetes.policies, "webhooks": kubernetes.policies_of_webhooks},
    f"{KUBERNETES}/overlays/development/kustomization.yaml": {"secrets": kubernetes.secret_files},
    f"{KUBERNETES}/overlays/production/kustomization.yaml": {"secrets": kubernetes.secret_files},
    f"{KUBERNETES}/overlays/production/platform.env": {
        "public URLs": _each(lambda s: f"{s.public_url_variable}=https://{kubernetes.host(s)}")
    },
    f"{KUBERNETES}/overlays/production/availability.yaml": {"services": kubernetes.availability},
    f"{KUBERNETES}/overlays/production/ingress.yaml": {"services": kubernetes.ingress_rules},
    f"{KUBERNETES}/components/operators/gateway.yaml": {"services": kubernetes.routes},
    f"{KUBERNETES}/components/operators/workers.yaml": {"services": kubernetes.scaled_workers},
    f"{KUBERNETES}/components/operators/alerts.yaml": {"alerts": _alert_groups},
    ".env.example": {"variables": _env_example, "passwords": _env_passwords},
    "pyproject.toml": {
        "packages": _listed("root_packages = ", ("platform_core", *PACKAGES)),
        "forbidden": _listed("forbidden_modules = ", PACKAGES),
        "independent": _listed("modules = ", PACKAGES),
        "containers": _listed("containers = ", PACKAGES),
    },
    "README.md": {"services": services_table},
    "docs/architecture.md": {"services": services_table},
    "docs/configuration.md": {"variables": configuration_table},
    "docs/scaling.md": {
        "needs": sizing.needs_table,
        "connections": lambda: sizing.connections_table(parsed({})),
    },
    "docs/kubernetes.md": {"connections": lambda: kubernetes.connections_table(parsed({}))},
    "docs/access.md": {"rules": access_table, "admins": admin_table},
}
"""For each file, the functions that generate its parts, by the names of the parts."""
