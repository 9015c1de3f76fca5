"""What order-service holds of a person: the customer of their orders, and the orders themselves."""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils.timezone import now

from order_svc.models import Order, OrderLine, OrderTransition
from platform_core.privacy import PersonalData
from platform_core.vocabulary import DONE

BATCH = 1000
NOBODY: dict[str, Any] = {"customer_name": None, "customer_email": None, "customer_address": None}


@transaction.atomic
def erase(user_id: int) -> bool:
    """Erases the customer of done orders, one batch. Open orders keep it until they are done, for their delivery."""
    done = Order.objects.filter(user_id=user_id, status__in=DONE, customer_email__isnull=False)
    batch = list(done.order_by("pk").values_list("pk", flat=True)[:BATCH])
    Order.objects.filter(pk__in=batch).update(**NOBODY, version=F("version") + 1, updated_at=now())
    return len(batch) == BATCH


def rows(user_id: int) -> Sequence[QuerySet[Any]]:
    """The person's orders, their lines, and the statuses that they took."""
    return [
        Order.objects.filter(user_id=user_id),
        *(model.objects.filter(order__user_id=user_id) for model in (OrderLine, OrderTransition)),
    ]


PERSONAL_DATA = PersonalData(erase, rows)
