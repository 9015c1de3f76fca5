"""``manage.py user_svc make_staff EMAIL --role admin``: an account that opens the admins of all five services."""

import secrets
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from platform_core.vocabulary import Role
from user_svc import services
from user_svc.models import User


class Command(BaseCommand):
    help = (
        "Give an account of user-service roles, and with a new account a random password, which is printed once. "
        "The account signs in to the admins of all five services and to /api/auth/token."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="Staff", help="of a new account")
        parser.add_argument(
            "--role", action="append", choices=[role.value for role in Role], help="may be given several times"
        )
        parser.add_argument("--new-password", action="store_true", help="also for an account that is there already")

    def handle(self, *args: Any, email: str, name: str, role: list[str] | None, **options: Any) -> None:
        problem = _problem(email, name)
        if problem:
            raise CommandError(problem)
        roles = sorted(set(role or [Role.ADMIN.value]))
        password = secrets.token_urlsafe(12)
        is_new = services.make_staff(email, name, roles, password, reset=options["new_password"])
        self.stdout.write(f"{email} has the roles {', '.join(roles)}.")
        if is_new or options["new_password"]:
            self.stdout.write(f"Password, shown this once: {password}")


def _problem(email: str, name: str) -> str:
    """What is wrong with an email address or a name, in the words of the model's validators; empty if nothing is."""
    try:
        User(email=email, name=name).clean_fields()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        value, kind = (email, "email address") if field == "email" else (name, field)
        return f"{value!r} is not a valid {kind}: {messages[0]}"
    return ""
