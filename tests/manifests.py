"""Reads deploy/kubernetes as kustomize would, for what these files use. `tests/kubernetes` compares it with kustomize.

Names of Secrets and ConfigMaps stay without the hashes that kustomize appends.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from platform_core.conf.environment import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
DEVELOPMENT, PRODUCTION = FOLDER / "overlays" / "development", FOLDER / "overlays" / "production"
OVERLAYS = (DEVELOPMENT, PRODUCTION)
OPERATORS = FOLDER / "components" / "operators"
NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
Resource = dict[str, Any]
Labels = Mapping[str, str]


@cache
def _read(folder: Path) -> list[Resource]:
    return list(_resources(folder))


def resources(folder: Path) -> list[Resource]:
    """All resources of a folder with a kustomization.yaml, patched; without the generated ConfigMap and Secrets."""
    return copy.deepcopy(_read(folder))


def kustomization(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return found


def documents(file: Path) -> list[Resource]:
    return [each for each in yaml.safe_load_all(file.read_text()) if each]


def _resources(folder: Path) -> Iterator[Resource]:
    given = kustomization(folder)
    patches = [(each.get("target"), documents(folder / each["path"])[0]) for each in given.get("patches", [])]
    images = {each["name"]: f"{each['newName']}:{each['newTag']}" for each in given.get("images", [])}
    for name in given["resources"]:
        path = (folder / name).resolve()
        for resource in resources(path) if path.is_dir() else documents(path):
            for target, patch in patches:
                if _is_meant(resource, target or {"kind": patch["kind"], "name": patch["metadata"]["name"]}):
                    resource = merged(resource, {key: patch[key] for key in patch.keys() - {"kind", "metadata"}})
                    resource["apiVersion"] = resource.get("apiVersion")
            for container in containers(resource):
                container["image"] = images.get(container["image"], container["image"])
            yield resource


def _is_meant(resource: Resource, target: Mapping[str, str]) -> bool:
    key, _, value = target.get("labelSelector", "").partition("=")
    labels = resource["metadata"].get("labels", {})
    is_named = "name" not in target or resource["metadata"]["name"] == target["name"]
    return bool(re.fullmatch(target["kind"], resource["kind"])) and is_named and (not key or labels.get(key) == value)


def merged(base: Any, patch: Any) -> Any:
    """A strategic merge: lists of things with a mount path, or else a name, are merged by it."""
    if isinstance(base, dict) and isinstance(patch, dict):
        changed = {key: merged(base[key], patch[key]) if key in base else patch[key] for key in patch}
        return {**base, **changed, **({"apiVersion": base["apiVersion"]} if "apiVersion" in base else {})}
    for key in ("mountPath", "name"):
        if isinstance(base, list) and isinstance(patch, list) and all(key in each for each in [*base, *patch]):
            known = {each[key]: each for each in base}
            for each in patch:
                known[each[key]] = merged(known[each[key]], each) if each[key] in known else each
            return list(known.values())
    return patch


def pod(resource: Resource) -> dict[str, Any]:
    """The `spec` of a workload's pods; empty for anything else."""
    found: dict[str, Any] = resource.get("spec", {}).get("template", {}).get("spec", {})
    return found


def containers(resource: Resource) -> list[dict[str, Any]]:
    """The containers of a workload's pods, those that run first included."""
    return [*pod(resource).get("initContainers", []), *pod(resource).get("containers", [])]


def labels_of(resource: Resource) -> dict[str, str]:
    """The labels of a workload's pods."""
    found: dict[str, str] = resource["spec"]["template"]["metadata"]["labels"]
    return found


def configuration(overlay: Path) -> dict[str, str]:
    """The variables of the ConfigMap."""
    (base,) = kustomization(FOLDER / "base")["configMapGenerator"]
    (own,) = kustomization(overlay)["configMapGenerator"]
    assert own["behavior"] == "merge"
    lines = list(base["literals"])
    for name in own["envs"]:
        lines += [line for line in (overlay / name).read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def secret_files(overlay: Path) -> dict[str, dict[str, str]]:
    """The Secrets of an overlay: each with its keys and the files, relative to the overlay, that they are read from."""
    found = {}
    for each in kustomization(overlay)["secretGenerator"]:
        pairs = [name.split("=") if "=" in name else (Path(name).name, name) for name in each["files"]]
        found[each["name"]] = dict(pairs)
    return found


def by_name(overlay: Path, kind: str) -> dict[str, Resource]:
    return {each["metadata"]["name"]: each for each in resources(overlay) if each["kind"] == kind}


def workloads(overlay: Path) -> dict[str, Resource]:
    """The Deployments and the Job: whatever runs the image."""
    return by_name(overlay, "Deployment") | by_name(overlay, "Job")


def main_container(workload: Resource) -> dict[str, Any]:
    """The one container of a workload's pods that is no init container."""
    container: dict[str, Any]
    (container,) = pod(workload)["containers"]
    return container
