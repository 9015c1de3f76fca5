"""``manage.py user_svc make_staff EMAIL --role admin``: creates an account for the admins of all five services."""

import secrets
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from platform_core.vocabulary import Role
from user_svc import services
from user_svc.emails import BadAddress, email_key, guessed_key
from user_svc.models import User


class Command(BaseCommand):
    help = (
        "Give roles to an account of user-service. A missing account is created with a random password, which is "
        "printed once. The account can sign in to the admins of all five services and at /api/auth/token."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="Staff", help="name of a new account")
        parser.add_argument("--role", action="append", choices=[role.value for role in Role], help="may be repeated")
        parser.add_argument("--new-password", action="store_true", help="replace an existing account's password")

    def handle(self, *args: Any, email: str, name: str, role: list[str] | None, **options: Any) -> None:
        problem = _problem(email, name)
        if problem:
            raise CommandError(problem)
        roles = sorted(set(role or [Role.ADMIN.value]))
        password = secrets.token_urlsafe(12)
        is_new = services.make_staff(email, name, roles, password, reset=options["new_password"])
        self.stdout.write(f"{email} has the roles {', '.join(roles)}.")
        if is_new or options["new_password"]:
            self.stdout.write(f"Password, shown only once: {password}")


def _problem(email: str, name: str) -> str:
    """What is wrong with an email address or a name, in the words of the model's validators; empty if nothing is."""
    try:
        User(email=email, email_key=guessed_key(email), name=name).clean_fields()
        email_key(email)
    except BadAddress as error:
        return f"{email!r} is not a valid email address: {error}"
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        value, kind = (email, "email address") if field == "email" else (name, field)
        return f"{value!r} is not a valid {kind}: {messages[0]}"
    return ""
