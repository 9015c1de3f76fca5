"""What the packages of the library export, and that everybody else imports nothing behind it."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from platform_core.conf.environment import ROOT
from platform_core.topology import SERVICES

LIBRARY = ROOT / "platform_core"
FOUND_BY_DJANGO = {"management", "migrations", "templatetags"}
PACKAGES = sorted(path.parent.name for path in LIBRARY.glob("*/__init__.pyi"))
NO_PACKAGES = (
    "manage.py",
    "deploy/gunicorn.conf.py",
    "benchmarks/**/*.py",
    "platform_core/tools/service_template/**/*.py-tpl",
)
"""Files outside the library that import-linter does not read."""
each_package = pytest.mark.parametrize("package", PACKAGES)


def stub(package: str) -> dict[str, str]:
    """Public name → the module that defines it; a public module stands for itself."""
    tree = ast.parse((LIBRARY / package / "__init__.pyi").read_text())
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or alias.name for node in imports for alias in node.names}


def modules(package: str) -> set[str]:
    return {module.name for module in iter_modules([str(LIBRARY / package)])}


def imports(text: str) -> Iterator[tuple[str, str]]:
    """Each name that is imported from the library, behind its module."""
    for module, names in re.findall(r"^ *from (platform_core[\w.]*) import (\([^)]*\)|[^\n#]*)", text, re.MULTILINE):
        yield from ((module, name.split()[0]) for name in names.strip("()\n ").split(",") if name.strip())


def is_public(module: str, name: str) -> bool:
    package = module.removeprefix("platform_core").removeprefix(".")
    return name in stub(package) if package in PACKAGES else "." not in package and name not in PACKAGES


def test_every_package_says_what_is_public():
    packages = {path.parent.name for path in LIBRARY.glob("*/*.py")}
    assert set(PACKAGES) == packages - FOUND_BY_DJANGO


def test_a_package_can_be_imported_before_django_is_set_up():
    lines = [f"import platform_core.{package}" for package in PACKAGES]
    loaded = "print(*(name for name in sys.modules if name.startswith(('django', 'rest_framework', 'platform_core.'))))"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(["import sys", *lines, loaded])], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {f"platform_core.{package}" for package in PACKAGES}


@each_package
def test_every_public_name_can_be_imported(package):
    face = import_module(f"platform_core.{package}")
    for module in modules(package) - {"locustfile"}:  # locust patches what is imported already
        import_module(f"platform_core.{package}.{module}")
    names = stub(package)
    assert set(face.__all__) == set(names)
    for name, module in names.items():
        behind = import_module(f"platform_core.{package}.{module}")
        assert getattr(face, name) is (behind if name == module else getattr(behind, name)), name


@each_package
def test_no_public_name_is_also_that_of_a_module(package):
    """Else the module would take its place as soon as it is imported."""
    assert not [name for name, module in stub(package).items() if name in modules(package) and name != module]


def test_files_that_are_in_no_package_import_public_names():
    files = [path for pattern in NO_PACKAGES for path in ROOT.glob(pattern)]
    found = [(path, *each) for path in files for each in imports(path.read_text())]
    assert {"manage.py", "gunicorn.conf.py", "database.py", "views.py-tpl"} <= {path.name for path, _, _ in found}
    assert not [f"{path}: {module} {name}" for path, module, name in found if not is_public(module, name)]


def test_an_import_that_is_not_public_would_be_noticed():
    text = "from platform_core.topology import USER\nfrom platform_core.api import (\n    Query,\n    views,\n)\n"
    text += "    from platform_core.http.errors import NotFound  # inside\nfrom platform_core import api, topology\n"
    assert [each for each in imports(text) if not is_public(*each)] == [
        ("platform_core.api", "views"),
        ("platform_core.http.errors", "NotFound"),
        ("platform_core", "api"),
    ]


def contracts() -> dict[str, dict[str, list[str]]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {each["name"]: each for each in project["tool"]["importlinter"]["contracts"]}


def test_the_linter_lets_everybody_import_the_public_modules_alone():
    ignored = contracts()["Outside the library, only public names are imported"]["ignore_imports"]
    public = [f"{package}.{name}" for package in PACKAGES for name, module in stub(package).items() if name == module]
    assert ignored == [f"** -> platform_core.{name}" for name in sorted(public)]


def test_the_linter_refuses_what_goes_past_the_public_names_or_upwards(tmp_path):
    hidden = {f"platform_core.{package}.{name}" for package in PACKAGES for name in modules(package) - {*stub(package)}}
    forbidden = {("order_svc.steps", module) for module in hidden} | {
        ("platform_core.tools.verify", "platform_core.stack.supervisor"),
        ("platform_core.management.commands.demo", "platform_core.tools.demo_data"),
        ("platform_core.http.errors", "platform_core.api.json"),
        ("platform_core.events.log", "platform_core.worker"),
    }
    for package in ("platform_core", *(service.package for service in SERVICES)):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for importer, imported in forbidden:
        with Path(tmp_path, *importer.split(".")).with_suffix(".py").open("a") as file:
            file.write(f"\nimport {imported}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, env={"COLUMNS": "200"}, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    found = set(re.findall(r"^- *(\S+) -> (\S+) \(l", done.stdout, re.MULTILINE))
    assert found == forbidden, done.stdout
