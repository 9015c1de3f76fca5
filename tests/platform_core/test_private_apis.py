"""Private parts of frameworks and libraries are used only where `docs/decisions/0012-private-apis.md` lists them."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest

from platform_core.conf.environment import ROOT
from platform_core.topology import SERVICES

PAGE = ROOT / "docs" / "decisions" / "0012-private-apis.md"
FOLDERS = ("platform_core", "deploy", *(service.package for service in SERVICES))

DOCUMENTED = {"_meta", "_default_manager", "_asdict", "_replace", "_exit", "_srcfile"}
"""Of Django's models, of named tuples, of `os` and `logging`: documented although they have an underscore."""
OURS = {"_platform_roles"}
"""Attributes that we add to foreign objects."""
UNDOCUMENTED_IMPORTS = (
    "django.core.cache.close_caches",
    "django.core.handlers",
    "django.db.close_old_connections",
    "django.db.backends.base",
    "django.db.backends.postgresql",
    "django.db.backends.utils",
    "django.db.migrations.executor",
    "django.db.models.fields.tuple_lookups",
    "django.http.request.HttpHeaders",
    "django.urls.get_resolver",
    "drf_spectacular.drainage",
    "drf_spectacular.plumbing",
    "gunicorn.app",
    "gunicorn.sock",
    "gunicorn.util",
    "gunicorn.workers",
    "rest_framework.request.override_method",
    "rest_framework.utils",
)
"""Modules and names without an underscore that no reference documents."""
UNDOCUMENTED_NAMES = {
    "_csp_",
    "close_if_health_check_failed",
    "close_if_unusable_or_obsolete",
    "errors_occurred",
    "execute_wrappers",
    "get_extra_action_url_map",
    "get_filter_form",
    "get_raw_data_form",
    "get_rendered_html_form",
    "gunicorn.socket",
    "queries_logged",
    "render_field",
    "render_form_for_serializer",
    "show_form_for_method",
    "sql_with_params",
    "wrap_database_errors",
}
"""Attributes, methods and keys of the WSGI environment, likewise."""
BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED | OURS


def is_listed(name: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in UNDOCUMENTED_IMPORTS)


def is_own_instance(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def defined_in(body: list[ast.stmt]) -> Iterator[str]:
    """The names that the body of a class defines."""
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Assign(targets=[*targets]):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def definitions(tree: ast.AST) -> Iterator[str]:
    """Private members of the classes in a module."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef():
                yield from filter(is_private, defined_in(node.body))
            case ast.Attribute(value=value, attr=name, ctx=ast.Store()) if is_own_instance(value) and is_private(name):
                yield name


def reads(tree: ast.AST) -> Iterator[str]:
    """Private members that a module reads or calls by way of an instance or a class."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=value, attr=name, ctx=ast.Load()) if not is_super(value):
                yield name


def uses(tree: ast.AST, defined: Counter[str], read: set[str]) -> Iterator[str]:  # noqa: C901  # a table
    """The private APIs that a module uses. ``defined`` and ``read`` are the private members of our own code."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=value, attr=name) if is_private(name):
                # What `super()` has is ours if a base class of ours defines it, too.
                if not (is_own_instance(value) and defined[name]) and not (is_super(value) and defined[name] > 1):
                    yield name
            case ast.Attribute(attr=name) if name in UNDOCUMENTED_NAMES:
                yield name
            case ast.Constant(value=str(name)) if name in UNDOCUMENTED_NAMES:
                yield name
            case ast.FunctionDef(name=name) if name in UNDOCUMENTED_NAMES:
                yield name
            case ast.ClassDef(body=body):
                # What our code never reads, a framework does: it is an override.
                yield from (name for name in defined_in(body) if is_private(name) and name not in read)
            case ast.Call(func=ast.Name(id=function), args=[_, ast.Constant(value=str(name)), *_]):
                if function in BY_NAME and is_private(name):
                    yield name
            case ast.ImportFrom(module=str(module), names=names):
                yield from (name for each in names if is_foreign(name := f"{module}.{each.name}"))
            case ast.Import(names=names):
                yield from (each.name for each in names if is_foreign(each.name))


def is_foreign(name: str) -> bool:
    root, *parts = name.split(".")
    return root not in FOLDERS and (is_listed(name) or any(map(is_private, [root, *parts])))


@cache
def modules() -> dict[str, ast.AST]:
    files = [ROOT / "manage.py", *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))]
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text()) for file in files}


def used() -> set[tuple[str, str]]:
    defined = Counter(name for tree in modules().values() for name in definitions(tree))
    read = {name for tree in modules().values() for name in reads(tree)}
    return {(file, name) for file, tree in modules().items() for name in uses(tree, defined, read)}


def rows() -> list[list[str]]:
    """The table of the page: file, what, reason, test."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def quoted(cell: str) -> list[str]:
    return re.findall("`([^`]+)`", cell)


def listed() -> set[tuple[str, str]]:
    return {(file, name) for files, what, *_ in rows() for file in quoted(files) for name in quoted(what)}


def test_every_used_private_api_is_listed():
    assert not used() - listed(), f"use a public way, or list it in {PAGE.name} with its reason and its test"


def test_every_listed_private_api_is_used():
    assert not listed() - used(), f"nobody uses it any longer: delete its row in {PAGE.name}"


def test_each_has_a_reason_and_a_test():
    assert rows()
    for row in rows():
        assert len(row) == 4, row
        tests = quoted(row[3])
        assert row[2] and tests, row
        for test in tests:
            file, _, name = test.partition("::")
            assert f"def {name}(" in Path(ROOT / file).read_text(), test


def test_every_listed_private_api_can_be_imported():
    """Imports a module or name. Raises if it does not exist."""
    for _, name in listed():
        if is_listed(name):
            resolve_name(name)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("response._content = b''", {"_content"}),
        ("def f(user):\n    return user.profile._state", {"_state"}),
        ("getattr(stream, '_out')", {"_out"}),
        ("from requests._internal_utils import to_native_string", {"requests._internal_utils.to_native_string"}),
        ("import _thread", {"_thread"}),
        ("from django.db.models.sql.query import _get_col", {"django.db.models.sql.query._get_col"}),
        ("from drf_spectacular.plumbing import append_meta", {"drf_spectacular.plumbing.append_meta"}),
        ("import gunicorn.util", {"gunicorn.util"}),
        ("environ.get('gunicorn.socket')", {"gunicorn.socket"}),
        ("connection.execute_wrappers.clear()", {"execute_wrappers"}),
        ("class A(B):\n    def _is_list_view(self): return True", {"_is_list_view"}),
        ("class A(B):\n    def _f(self): return super()._f()", {"_f"}),
        ("class A(B):\n    def _f(self): return super()._f()\n    def g(self): return self._f()", {"_f"}),
        ("class A(B):\n    _default_list = None", {"_default_list"}),
        ("class A(B):\n    def f(self): return self._cached", {"_cached"}),
        ("class A(B):\n    def f(self): return self._own()\n    def _own(self): return 1", set()),
        ("class A:\n    def __init__(self): self._own = 1\n    def f(self): return self._own", set()),
        ("model._meta.label, row._replace(a=1), os._exit(1), model.__name__", set()),
        ("from platform_core.outbox import _private", set()),
    ],
)
def test_the_search_finds_what_is_private(code, found):
    tree = ast.parse(code)
    assert set(uses(tree, Counter(definitions(tree)), set(reads(tree)))) == found
