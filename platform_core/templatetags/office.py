"""The bar of all pages: ``{% load office %}{% bar %}`` after ``<body>``."""

import json
from typing import Any

from django import template

from platform_core.api.id_links import id_links as links_of_ids
from platform_core.office.bar import bar_context, services_for

register = template.Library()


@register.inclusion_tag("office/bar.html", takes_context=True)
def bar(context: dict[str, Any]) -> dict[str, Any]:
    """The bar, with its stylesheet and its script."""
    problem = context.get("problem")
    is_failing = isinstance(problem, dict) and int(problem.get("status", 0)) >= 500
    found = bar_context(context.get("request"), is_failing=is_failing)
    return {**found, "csrf_token": context.get("csrf_token"), "is_popup": context.get("is_popup", False)}


@register.simple_tag(takes_context=True)
def id_links(context: dict[str, Any]) -> str:
    """The addresses of the resources that ids in answers name, as JSON (`platform_core.api.id_links`)."""
    return json.dumps(links_of_ids(context["request"]))


@register.inclusion_tag("office/elsewhere.html", takes_context=True)
def elsewhere(context: dict[str, Any]) -> dict[str, Any]:
    """Where somebody who has no page in this admin has some."""
    return services_for(context["request"])
