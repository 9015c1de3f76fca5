"""``manage.py user_svc rotate_keys``: rotates the signing key of access tokens."""

from typing import Any

from django.core.management.base import BaseCommand

from user_svc import signing


class Command(BaseCommand):
    help = (
        "Sign access tokens with a new key from now on. Tokens that the old key signed stay valid until they expire, "
        "unless --revoke is given."
    )

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument(
            "--revoke",
            action="store_true",
            help="for a leaked key: revoke all old keys; other services reject their tokens within five minutes",
        )

    def handle(self, *args: Any, revoke: bool, **options: Any) -> None:
        self.stdout.write(f"Access tokens are signed with {signing.rotate(revoke=revoke)} from now on.")
