"""The names of staff, from this service's copies of their accounts (`platform_core.auth.staff`)."""

from collections.abc import Collection

from django.contrib.auth.models import User

from platform_core.auth.staff import shadow_name


def staff_names(ids: Collection[int]) -> dict[int, str]:
    """The names of those accounts that have signed in to this service's admin, by id. At most one query.

    An account that was erased has no name here.
    """
    if not ids:
        return {}
    by_username = {shadow_name(each): each for each in ids}
    rows = User.objects.filter(username__in=by_username).exclude(first_name="").values_list("username", "first_name")
    return {by_username[username]: name for username, name in rows}
