"""Words that several services use: roles, statuses, channels, event types. Each is defined here and nowhere else.

The services' models take their choices and CHECK constraints from these enums. The order of the members is the order
of the choices in migrations and in the OpenAPI documents, so new ones go to the end.
"""

from enum import StrEnum

from django.db.models import TextChoices

MAX_ID = 2**63 - 1
"""The largest id: ids are Postgres's bigint."""


class Role(StrEnum):
    """What a member of the staff works on. An account without a role belongs to a customer.

    ADMIN may do whatever any other role may. The services' ``access.py`` say what the others may do.
    """

    CATALOG = "catalog"
    ORDERS = "orders"
    SUPPORT = "support"
    ADMIN = "admin"


class OrderStatus(TextChoices):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    SHIPPED = "shipped"
    DELIVERED = "delivered"


# What a status means. Every status except PENDING belongs to exactly one of the first two.
HOLDING_STOCK = (OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.DELIVERED)
"""The order has a reservation in product-service, and its total counts as revenue."""
WITHOUT_STOCK = (OrderStatus.REJECTED, OrderStatus.CANCELLED)
"""The order has ended, and its stock has been released or is about to be."""
UNPLACED = (OrderStatus.PENDING, OrderStatus.REJECTED)
"""The order was never confirmed: it has no total, no event tells of it, and analytics does not count it."""
PLACED = (*HOLDING_STOCK, *(status for status in WITHOUT_STOCK if status not in UNPLACED))
"""The order was confirmed once. In the order in which reports list them."""


class ReservationStatus(TextChoices):
    RESERVED = "reserved"
    RELEASED = "released"


class NotificationStatus(TextChoices):
    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"


SETTLED = (NotificationStatus.SENT, NotificationStatus.FAILED)
"""Nothing more is tried. Each has an event, and analytics counts it."""


class Channel(TextChoices):
    """How a notification reaches the user. `notification_svc.channels` has the handler of each."""

    EMAIL = "email"
    LOG = "log"


class EventType(StrEnum):
    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    USER_DELETED = "user.deleted"
    PRODUCT_CREATED = "product.created"
    PRODUCT_UPDATED = "product.updated"
    PRODUCT_DELETED = "product.deleted"
    STOCK_CHANGED = "stock.changed"
    ORDER_CONFIRMED = "order.confirmed"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_SHIPPED = "order.shipped"
    ORDER_DELIVERED = "order.delivered"
    NOTIFICATION_SENT = "notification.sent"
    NOTIFICATION_FAILED = "notification.failed"

    @classmethod
    def of_order(cls, status: OrderStatus) -> "EventType":
        """The event of an order that takes this status. Raises ValueError if it has none."""
        return cls(f"order.{status}")

    @classmethod
    def of_notification(cls, status: NotificationStatus) -> "EventType":
        """The event of a notification that takes this status. Raises ValueError if it has none."""
        return cls(f"notification.{status}")

    @property
    def resource(self) -> str:
        """The kind of resource whose state the event carries."""
        kind = self.partition(".")[0]
        return "product" if kind == "stock" else kind


class MessageKind(StrEnum):
    """What an outbox message asks for. The sender's ``tasks.HANDLERS`` has the handler of each."""

    STOCK_RELEASE = "stock.release"
    STOCK_RESERVE = "stock.reserve"
    NOTIFICATION_SEND = "notification.send"
    NOTIFICATION_DELIVER = "notification.deliver"


STOCK_SHORTAGE = {"productId": "string", "requested": "integer", "available": "integer"}
"""Members, with their JSON types, that an error of one field has when stock is short. order-service passes them on."""


def sql_list(words: tuple[str, ...]) -> str:
    """``('confirmed', 'shipped')``, for a statement that is put together from constants."""
    return "(" + ", ".join(f"'{word}'" for word in words) + ")"
