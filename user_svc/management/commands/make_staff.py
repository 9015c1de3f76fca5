"""``manage.py user_svc make_staff EMAIL --role admin``: creates an account for the admins of all five services."""

import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email

from platform_core.vocabulary import Role
from user_svc import services


class Command(BaseCommand):
    help = (
        "Give roles to an account of user-service. A missing account is created with a random password, which is "
        "printed once. The account can sign in to the admins of all five services and at /api/auth/token."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("email", type=_email)
        parser.add_argument("--name", default="Staff", help="name of a new account")
        parser.add_argument("--role", action="append", choices=[role.value for role in Role], help="may be repeated")
        parser.add_argument("--new-password", action="store_true", help="replace an existing account's password")

    def handle(self, *args: Any, email: str, name: str, role: list[str] | None, **options: Any) -> None:
        roles = sorted(set(role or [Role.ADMIN.value]))
        password = secrets.token_urlsafe(12)
        is_new = services.make_staff(email, name, roles, password, reset=options["new_password"])
        self.stdout.write(f"{email} has the roles {', '.join(roles)}.")
        if is_new or options["new_password"]:
            self.stdout.write(f"Password, shown only once: {password}")


def _email(text: str) -> str:
    try:
        validate_email(text)
    except Exception:
        raise CommandError(f"{text!r} is not an email address.") from None
    return text
