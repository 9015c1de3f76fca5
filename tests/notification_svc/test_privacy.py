"""docs/privacy.md lists what this service holds of persons."""

import pytest

from notification_svc.models import Notification
from notification_svc.services import snapshot
from tests.privacy import *  # noqa: F403
from tests.privacy import assert_is_in_no_event


@pytest.mark.django_db
def test_events_of_notifications_hold_no_personal_data():
    assert_is_in_no_event(Notification, snapshot)
