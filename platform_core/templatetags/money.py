"""Amounts in templates, after ``{% load money %}``. The templates of mails need no ``load``."""

from decimal import Decimal, InvalidOperation
from typing import Any

from django import template

from platform_core.conf.currencies import amount_text

register = template.Library()


@register.filter
def money(amount: Any) -> str:
    """An amount in the shop's currency: ``{{ order.total|money }}`` gives ``1,234.50``. None is an empty text."""
    return _shown(amount, "")


@register.simple_tag(name="money")
def money_in(amount: Any, code: Any = "") -> str:
    """The same in another currency: ``{% money data.total data.currency %}``. Neither has to be there.

    What is no number is shown as it is.
    """
    return _shown(amount, code if isinstance(code, str) else "")


def _shown(amount: Any, code: str) -> str:
    if amount is None:
        return ""
    try:
        number = amount if isinstance(amount, Decimal) else Decimal(str(amount))
    except InvalidOperation:
        return str(amount)
    return amount_text(number, code, grouped=True) if number.is_finite() else str(amount)
