"""The queries in `deploy/monitoring` use series that the code exports."""

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from platform_core.conf.environment import ROOT
from platform_core.topology import SERVICES

FOLDER = ROOT / "deploy" / "monitoring"
PROMETHEUS = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
GROUPS = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD = json.loads((FOLDER / "grafana" / "dashboards" / "platform.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in RULES} | {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
WORKERS = {f"{service.stem}-worker" for service in SERVICES if service.has_worker}
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]

KINDS = {"Counter", "Gauge", "Histogram", "GaugeMetricFamily"}
OF_PROMETHEUS = {"up": {"job"}}
OF_TARGETS = {"app", "instance", "job"}
WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "inf"}

rules = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def declared() -> dict[str, set[str]]:
    """All series that the code exports, with their labels."""
    found = dict(OF_PROMETHEUS)
    for path in [file for folder in ("platform_core", *(s.package for s in SERVICES)) for file in python_in(folder)]:
        for node in ast.walk(ast.parse(path.read_text())):
            is_kind = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS
            if is_kind and node.args and isinstance(node.args[0], ast.Constant):  # collections has a Counter, too
                found |= series(node)
    return found


def python_in(folder: str) -> list[Path]:
    return sorted(Path(ROOT, folder).rglob("*.py"))


def series(call: ast.Call) -> dict[str, set[str]]:
    name = ast.literal_eval(call.args[0])
    lists = [each for each in [*call.args, *(keyword.value for keyword in call.keywords)] if isinstance(each, ast.List)]
    labels = {ast.literal_eval(label) for each in lists for label in each.elts}
    if call.func.id == "Histogram":
        return {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
    return {name: labels}


DECLARED = declared()


def asked(expression: str) -> dict[str, set[str]]:
    """The series that an expression names, with the labels that it picks them by."""
    found = {}
    text = re.sub(r'"[^"]*"', '""', expression)
    text = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", text)
    for name, matchers in re.findall(r"\b([a-z_]+)\b(?!\s*\()(\{[^}]*\})?", re.sub(r"\[[^]]*\]", "", text)):
        if name not in WORDS and not matchers_of(text, name):
            found.setdefault(name, set()).update(re.findall(r"(\w+)\s*[=!]", matchers))
    return found


def matchers_of(text: str, name: str) -> bool:
    """Whether the word is a label within braces and not a series."""
    return re.search(rf"\b{name}\s*(=|!=|=~|!~)\s*\"", text) is not None


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_alerts_and_dashboard_ask_for_series_and_labels_that_the_code_exports(expression):
    names = asked(expression)
    assert names
    for name, labels in names.items():
        assert name in DECLARED, name
        assert labels <= DECLARED[name] | OF_TARGETS, name
    grouped = {label for each in re.findall(r"\bby \(([^)]*)\)", expression) for label in each.split(", ")}
    assert grouped <= set().union(OF_TARGETS, *(DECLARED[name] for name in names))


def test_a_series_that_nobody_exports_would_be_noticed():
    assert asked('sum by (app) (rate(nonesuch_total{app="x", reason=~"y"}[5m])) > 0') == {
        "nonesuch_total": {"app", "reason"}
    }


def test_the_dashboard_shows_every_series():
    shown = {name for panel in PANELS for target in panel["targets"] for name in asked(target["expr"])}
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in DECLARED} == bases


def test_counters_and_units_are_named_as_prometheus_wants_it():
    for name in DECLARED:
        assert not re.search(r"_(ms|milliseconds|minutes)(_|$)", name)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)


@rules
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_where_help_is(rule):
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    words = re.findall(r"[A-Z][a-z]+", rule["alert"])
    assert "".join(words) == rule["alert"]
    anchor = "-".join(["alert", *words]).lower()
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{anchor}"
    assert re.fullmatch(r"[0-9]+[smh]", rule.get("for", "0s"))


@rules
def test_the_labels_in_an_alerts_texts_exist(rule):
    for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
        assert label in rule["expr"] or rule["expr"].startswith("up{"), label


def test_the_alerts_have_names_of_their_own():
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)


def test_the_five_webs_are_scraped_where_they_listen():
    (web,) = [job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "web"]
    targets = {group["labels"]["app"]: group["targets"] for group in web["static_configs"]}
    assert targets == {service.name: [f"{service.name}:{service.port}"] for service in SERVICES}


def test_all_workers_are_scraped_on_the_port_that_they_are_given():
    (worker,) = [job for job in PROMETHEUS["scrape_configs"] if job["job_name"] == "worker"]
    (lookup,) = worker["dns_sd_configs"]
    assert set(lookup["names"]) == WORKERS
    assert {str(lookup["port"])} == {COMPOSE[name]["environment"]["WORKER_METRICS_PORT"] for name in WORKERS}


def test_every_scrape_shows_the_token_from_its_file():
    files = {job["authorization"]["credentials_file"] for job in PROMETHEUS["scrape_configs"]}
    assert files == {"/run/secrets/metrics_token"}


def test_panels_lie_side_by_side_on_the_provisioned_source():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
    source = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_grafana_finds_the_dashboard_where_it_is_mounted():
    provider = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/platform.yml").read_text())["providers"][0]
    assert f"./deploy/monitoring/grafana/dashboards:{provider['options']['path']}:ro" in COMPOSE["grafana"]["volumes"]


def test_promtool_finds_nothing_wrong_where_there_is_one():
    promtool = shutil.which("promtool")
    if promtool is None:
        return  # the tests above look at the same files; .ci/run says that it was not run
    commands = "check rules alerts.yml", "test rules alerts_test.yml", "check config --syntax-only prometheus.yml"
    for arguments in commands:
        subprocess.run([promtool, *arguments.split()], cwd=FOLDER, check=True, capture_output=True)


@rules
def test_every_alert_is_documented(rule):
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    text = (ROOT / page).read_text()
    headings = {re.sub(r"[^a-z0-9 -]", "", line.lower().lstrip("# ")).replace(" ", "-") for line in text.splitlines()}
    assert anchor in headings
