"""The values that several services share: roles, statuses, channels, event types. Each is defined only here.

The services' models take their choices and CHECK constraints from these enums. The order of the members is the order
of the choices in migrations and in the OpenAPI documents, so new ones go to the end.
"""

from enum import StrEnum

from django.db.models import TextChoices

MAX_ID = 2**63 - 1
"""The largest id: ids are Postgres's bigint."""


class Role(StrEnum):
    """The roles of staff. An account without a role belongs to a customer.

    ADMIN has all rights of the other roles. The services' ``access.py`` define the rights of the others.
    """

    CATALOG = "catalog"
    ORDERS = "orders"
    SUPPORT = "support"
    ADMIN = "admin"


class OrderStatus(TextChoices):
    """The status of an order. The groups below define what each one means."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    SHIPPED = "shipped"
    DELIVERED = "delivered"


# Groups of statuses. Every status except PENDING belongs to exactly one of the first two.
HOLDING_STOCK = (OrderStatus.CONFIRMED, OrderStatus.SHIPPED, OrderStatus.DELIVERED)
"""The order has a reservation in product-service, and its total counts as revenue."""
WITHOUT_STOCK = (OrderStatus.REJECTED, OrderStatus.CANCELLED)
"""The order has ended, and its stock has been released or is about to be."""
UNPLACED = (OrderStatus.PENDING, OrderStatus.REJECTED)
"""The order was never confirmed: it has no total. A rejected one has an event, and analytics counts it apart."""
OPEN_ORDER = (OrderStatus.PENDING, OrderStatus.CONFIRMED)
"""The order has neither ended nor been shipped. The number of a customer's open orders is limited."""
PLACED = (*HOLDING_STOCK, *(status for status in WITHOUT_STOCK if status not in UNPLACED))
"""The order has been confirmed."""
COUNTED = (*PLACED, OrderStatus.REJECTED)
"""Every change to one of these has an event. Reports list the statuses in this sequence."""


DONE = (*WITHOUT_STOCK, OrderStatus.DELIVERED)
"""Nothing more happens to the order. It loses its customer's data when the person is erased."""


class ReservationStatus(TextChoices):
    """The status of a stock reservation. A released one is a tombstone."""

    RESERVED = "reserved"
    RELEASED = "released"


class NotificationStatus(TextChoices):
    """The status of a notification's delivery."""

    QUEUED = "queued"
    SENT = "sent"
    FAILED = "failed"


SETTLED = (NotificationStatus.SENT, NotificationStatus.FAILED)
"""No further attempt is made. Each has an event, and analytics counts it."""


class Channel(TextChoices):
    """How a notification reaches the user. `notification_svc.channels` has the handler of each."""

    EMAIL = "email"
    LOG = "log"


class EventType(StrEnum):
    """The types of the events in the feeds, ``resource.what_happened``."""

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
    ORDER_REJECTED = "order.rejected"

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
    """The kinds of outbox messages. The sender's ``tasks.HANDLERS`` has a handler for each."""

    STOCK_RELEASE = "stock.release"
    STOCK_RESERVE = "stock.reserve"
    NOTIFICATION_SEND = "notification.send"
    NOTIFICATION_DELIVER = "notification.deliver"
    ACCOUNT_MAIL = "account.mail"
    PERSON_ERASE = "person.erase"
    WEBHOOK_DELIVER = "webhook.deliver"


STOCK_SHORTAGE = {"productId": "string", "requested": "integer", "available": "integer"}
"""Further members, with their JSON types, of the field error for a shortage of stock. order-service passes them on."""


def sql_list(words: tuple[str, ...]) -> str:
    """A list for SQL, such as ``('confirmed', 'shipped')``. The words are not escaped: use it with constants only."""
    return "(" + ", ".join(f"'{word}'" for word in words) + ")"
