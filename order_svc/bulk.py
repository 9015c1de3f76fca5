"""Changes of many orders, as jobs."""

from collections.abc import Callable
from dataclasses import dataclass

from order_svc import services
from order_svc.models import Order
from platform_core.http import NotFound
from platform_core.jobs import Job, JobItem, Kind, each_item, log_change
from platform_core.vocabulary import MessageKind, OrderStatus


@dataclass(frozen=True, slots=True)
class Move:
    """A change of status that staff may make for many orders."""

    name: str
    title: str
    use_case: Callable[[int], Order]
    old: OrderStatus
    new: OrderStatus

    @property
    def kind(self) -> str:
        """The name of the kind of jobs that make this change."""
        return f"order.{self.name}"

    def process(self, job: Job, order_id: int) -> bool:
        """Moves one order, as the API does. Returns whether it had another status before. Raises PlatformError."""
        before = Order.objects.select_for_update().filter(pk=order_id).values_list("version", flat=True).first()
        if before is None:
            raise NotFound("There is no such order.")
        order = self.use_case(order_id)
        if order.version == before:
            return False
        log_change(job, order, f"Status changed to {order.status}.")
        return True

    def question(self, job: Job) -> str:
        """What the job will do, in numbers, as of now."""
        rows = Order.objects.filter(pk__in=JobItem.objects.filter(job=job).values("key"))
        moved, same = rows.filter(status=self.old).count(), rows.filter(status=self.new).count()
        refused = (job.total or 0) - moved - same
        messages = {message.kind for message in services.consequences(Order(pk=0), self.new)}
        parts = [f"{_orders(moved)} will be marked as {self.new}."]
        if MessageKind.STOCK_RELEASE in messages:
            parts.append(f"The stock of {_orders(moved)} will be released.")
        if MessageKind.NOTIFICATION_SEND in messages:
            parts.append(f"{_counted(moved, 'mail')} will be sent to customers.")
        else:
            parts.append("No mail will be sent.")
        if same:
            parts.append(f"{_orders(same)} {'is' if same == 1 else 'are'} {self.new} already.")
        if refused:
            verb = "is" if refused == 1 else "are"
            parts.append(f"{_orders(refused)} {verb} not {self.old} now and will be refused.")
        return "\n".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _orders(number: int) -> str:
    return _counted(number, "order")


MOVES = {
    move.name: move
    for move in (
        Move("cancel", "Cancel the orders", services.cancel_order, OrderStatus.CONFIRMED, OrderStatus.CANCELLED),
        Move("ship", "Mark as shipped", services.ship_order, OrderStatus.CONFIRMED, OrderStatus.SHIPPED),
        Move("deliver", "Mark as delivered", services.deliver_order, OrderStatus.SHIPPED, OrderStatus.DELIVERED),
    )
}
KINDS = tuple(
    Kind(
        name=move.kind,
        title=move.title,
        permission="order_svc.change_order",
        run=each_item(move.process),
        question=move.question,
        row="order",
        row_page="admin:order_svc_order_change",
    )
    for move in MOVES.values()
)
