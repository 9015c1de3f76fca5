"""System checks that compare a service's access rules with its routes. A web does not start with an error here."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.urls import URLPattern, URLResolver
from django.views.generic import RedirectView
from rest_framework.views import APIView

from platform_core.auth.access import bare
from platform_core.auth.rules import admin_pages_of, rules_of
from platform_core.http.middleware import readable

ACTIONS = ("view", "add", "change", "delete")
_WITHOUT_RULE = ("/metrics",)
"""/metrics has its own token."""


@dataclass(frozen=True, slots=True)
class Route:
    """A URL pattern outside the admin. ``path`` names its parameters: ``/api/notes/{pk}``; ``rule_path`` does not."""

    path: str
    methods: frozenset[str]
    is_drf: bool

    @property
    def rule_path(self) -> str:
        """The path as access rules write it, with ``{id}`` for each parameter."""
        return bare(self.path)


def routes() -> Iterator[Route]:
    """The routes of this service that need a rule: all but redirects and the pages of the admin."""
    for pattern, view in _patterns(import_module(settings.ROOT_URLCONF).urlpatterns):  # type: ignore[misc]
        path = readable(pattern)
        if path not in _WITHOUT_RULE and getattr(view, "view_class", None) is not RedirectView:
            view_class = getattr(view, "cls", None)
            is_drf = isinstance(view_class, type) and issubclass(view_class, APIView)
            yield Route(path, frozenset(_methods(view)), is_drf)


def _patterns(patterns: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for each in patterns:
        pattern = prefix + str(each.pattern)
        if isinstance(each, URLPattern):
            yield pattern, each.callback
        elif isinstance(each, URLResolver) and each.app_name != "admin":
            yield from _patterns(each.url_patterns, pattern)


def _methods(view: Any) -> set[str]:
    """The methods of a viewset's actions, of a class-based view, or GET for a function."""
    view_class = getattr(view, "cls", None) or getattr(view, "view_class", None)
    if hasattr(view, "actions"):
        names = set(view.actions)
    elif view_class is not None:
        names = {name for name in view_class.http_method_names if hasattr(view_class, name)}
    else:
        names = {"get"}
    return {name.upper() for name in names - {"head", "options"}}


def check_access_rules(**_: Any) -> list[CheckMessage]:
    """Compares ``settings.ACCESS_RULES`` with the routes and apps of this service."""
    return _incomplete_module() or [*_rules_and_routes(), *_admin_pages()]


def _incomplete_module() -> list[CheckMessage]:
    name = settings.ACCESS_RULES
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, but an import in it fails
        return [_error(1, f"There is no module {name}.", "Create it, or set ACCESS_RULES to another module.")]
    missing = [each for each in ("RULES", "ADMIN_PAGES") if not hasattr(module, each)]
    return [_error(1, f"{name} has no {each}.", "See platform_core.auth.rules.") for each in missing]


def _rules_and_routes() -> Iterator[CheckMessage]:
    module, rules = settings.ACCESS_RULES, rules_of(settings.SERVICE, settings.ACCESS_RULES)
    if settings.PLATFORM_ENV != "development":
        rules = tuple(rule for rule in rules if not rule.development)
    named = Counter((method, rule.route) for rule in rules for method in rule.methods)
    found = list(routes())
    there = {(method, route.rule_path) for route in found for method in route.methods}
    for method, path in sorted(there - named.keys()):
        yield _error(2, f"{method} {path} has no rule, so all requests are refused.", f"Add one to {module}.")
    for method, path in sorted(named.keys() - there):
        hint = f"Correct it or remove it from {module}. Rules belong to the service that has the route."
        yield _error(3, f"{settings.SERVICE.name} has a rule for {method} {path} but no such route.", hint)
    for (method, path), times in named.items():
        if times > 1:
            yield _error(4, f"{method} {path} has {times} rules.", f"Keep one of them in {module}.")
    closed = {rule.route for rule in rules if not rule.anybody}
    for path in sorted({route.rule_path for route in found if not route.is_drf} & closed):
        hint = "Use a view of Django REST framework, or check the caller in the view and silence this error."
        yield _error(5, f"Nothing applies the rule of {path}: its view is not one of Django REST framework.", hint)


def _admin_pages() -> Iterator[CheckMessage]:
    for role, pages in admin_pages_of(settings.ACCESS_RULES).items():
        for app, actions in pages.items():
            if app not in apps.app_configs:
                yield _error(6, f"ADMIN_PAGES of {role} names the app {app}, which this service does not have.", "")
            for action in sorted(set(actions) - set(ACTIONS)):
                yield _error(6, f"ADMIN_PAGES of {role} names the action {action!r}.", f"Known: {', '.join(ACTIONS)}.")


def _error(number: int, text: str, hint: str) -> CheckMessage:
    return Error(text, hint=hint or None, obj=settings.ACCESS_RULES, id=f"platform_core.E{number:03}")
