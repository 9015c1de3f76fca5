"""Generates the tables of docs/access.md from the access rules of all services."""

from collections.abc import Iterator, Sequence

from platform_core.auth.rules import STAFF, Rule, admin_pages_of, rules_of
from platform_core.topology import SERVICES, Service
from platform_core.vocabulary import Role


def access_table() -> str:
    """One table in Markdown for each service, with a row for each rule."""
    return "\n\n".join(f"## {service.name}\n\n{_table(service)}" for service in SERVICES)


def _table(service: Service) -> str:
    head = ["| method | route | anybody | customers | staff | services |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *map(_row, rules_of(service, service.access_module))])


def _row(rule: Rule) -> str:
    if rule.anybody:
        who = ["yes", "yes", "yes", "yes"]
    else:
        staff = "every role" if rule.staff == STAFF else ", ".join(f"`{role}`" for role in sorted(rule.roles))
        callers = "all" if rule.services == SERVICES else ", ".join(service.name for service in rule.services)
        who = ["–", rule.customers, staff or "–", callers or "–"]
    where = " (development only)" if rule.development else ""
    return f"| {', '.join(rule.methods)} | `{rule.route}`{where} | {' | '.join(who)} |"


def admin_table() -> str:
    """A table in Markdown: what each role may do in the pages of each app, service by service."""
    roles = [role for role in Role if role is not Role.ADMIN]
    head = [["admin of", "app", *(f"`{role}`" for role in roles)], ["---"] * (2 + len(roles))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (*head, *_admin_rows(roles)))


def _admin_rows(roles: Sequence[Role]) -> Iterator[list[str]]:
    for service in SERVICES:
        pages = admin_pages_of(service.access_module)
        for app in dict.fromkeys(app for apps in pages.values() for app in apps):
            actions = [", ".join(pages.get(role, {}).get(app, ())) or "–" for role in roles]
            yield [service.name, f"`{app}`", *actions]
