"""The form with which staff adjust the stock of a product by hand."""

import uuid
from typing import Any

from django import forms
from django.db import IntegrityError, transaction
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from platform_core.db import violated_constraint
from platform_core.models import IdempotencyKey
from product_svc.actors import actor
from product_svc.models import Product, StockMovement
from product_svc.services import adjust_stock, count_stock
from product_svc.stock_levels import MAX_STOCK

BY, TO = "by", "to"
REASONS = ("received", "counted", "damaged", "lost", "returned", "correction", "other")
_ONCE = "idempotency_key_once_per_caller"
_SEE_OTHER = 303


class AlreadyMade(Exception):
    """The form was sent twice. The first time counts."""


class AdjustmentForm(forms.Form):
    """Adjusts by ``number`` pieces, or sets the stock to them.

    ``seen`` is the stock that the page showed. ``key`` makes sure that a form that is sent twice counts once.
    """

    how = forms.ChoiceField(
        label="Change", choices=((BY, "Add or remove"), (TO, "Set to")), initial=BY, widget=UnfoldAdminSelectWidget
    )
    number = forms.IntegerField(
        label="Pieces",
        min_value=-MAX_STOCK,
        max_value=MAX_STOCK,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"placeholder": "-2 or 25"}),
    )
    reason = forms.ChoiceField(
        label="Reason", choices=(("", "–"), *((each, each) for each in REASONS)), widget=UnfoldAdminSelectWidget
    )
    note = forms.CharField(label="Note", required=False, max_length=500, widget=UnfoldAdminTextInputWidget)
    seen = forms.IntegerField(widget=forms.HiddenInput, min_value=0)
    key = forms.UUIDField(widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        """Checks that the number suits the way of adjusting."""
        cleaned = super().clean() or {}
        number = cleaned.get("number")
        if number is not None and cleaned.get("how") == TO and number < 0:
            self.add_error("number", "A stock cannot be negative.")
        if number == 0 and cleaned.get("how") == BY:
            self.add_error("number", "Enter how many pieces to add, or to remove with a minus.")
        return cleaned


def blank_form(product: Product, **initial: Any) -> AdjustmentForm:
    """A form for the present stock. ``initial`` are texts that were entered before."""
    return AdjustmentForm(initial={**initial, "seen": product.stock, "key": uuid.uuid4()}, prefix="stock")


def adjust(product_id: int, *, how: str, number: int, reason: str, note: str, seen: int, key: Any) -> str:
    """Does what a valid form says, and returns a sentence about it.

    Raises AlreadyMade; NotFound; Conflict `insufficient_stock`, `stock_limit` or `stock_changed`.
    """
    try:
        with transaction.atomic():
            IdempotencyKey.objects.create(
                caller=actor(), key=f"stock-{key}", fingerprint=b"", status=_SEE_OTHER, body=b""
            )
            if how == TO:
                return _said(count_stock(product_id, number, seen, reason, note))
            return _said(adjust_stock(product_id, number, reason, note))
    except IntegrityError as error:
        if violated_constraint(error) != _ONCE:
            raise
        raise AlreadyMade from None


def _said(movement: StockMovement | None) -> str:
    if movement is None:
        return "The stock is as counted. Nothing was changed."
    pieces = "1 piece" if abs(movement.delta) == 1 else f"{abs(movement.delta):,} pieces"
    return f"{pieces} {'added' if movement.delta > 0 else 'removed'}. The stock is {movement.stock:,} now."
