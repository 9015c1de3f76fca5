"""``manage.py user_svc rotate_keys``: a new key for access tokens."""

from typing import Any

from django.core.management.base import BaseCommand

from user_svc import signing


class Command(BaseCommand):
    help = (
        "Sign access tokens with a new key from now on. What the old one signed stays good until it expires, unless "
        "--revoke is given."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--revoke",
            action="store_true",
            help="for a key that got out: drop the old ones; other services stop taking them within five minutes",
        )

    def handle(self, *args: Any, revoke: bool, **options: Any) -> None:
        self.stdout.write(f"Access tokens are signed with {signing.rotate(revoke=revoke)} from now on.")
