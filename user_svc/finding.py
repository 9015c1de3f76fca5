"""Users for the search of the back office: by email."""

from collections.abc import Iterator

from platform_core.clients import Match
from platform_core.office import Sought, admin_page
from user_svc.emails import BadAddress, email_key
from user_svc.models import User


def find_users(sought: Sought) -> Iterator[Match]:
    """The user with this address in any of its spellings. One index scan."""
    try:
        key = email_key(sought.text)
    except BadAddress:
        return
    for user in User.objects.filter(email_key=key):
        yield Match("user", user.name, f"{user.email}, user {user.pk}", admin_page(user))
