"""docs/privacy.md lists what this service holds of persons."""

import pytest

from tests.privacy import *  # noqa: F403
from tests.privacy import assert_is_in_no_event
from user_svc.models import User
from user_svc.services import snapshot


@pytest.mark.django_db
def test_events_of_users_hold_no_personal_data():
    assert_is_in_no_event(User, snapshot)
