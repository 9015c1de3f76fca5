"""The currencies of ISO 4217 in which a shop can count, and how amounts are shown."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

from django.conf import settings

_TWO = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP "
    "CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
    "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN "
    "NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
    "SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
DECIMALS: Mapping[str, int] = {**dict.fromkeys(_TWO.split(), 2), **dict.fromkeys(_NONE.split(), 0)}
"""The decimals of each currency. Those with three or four are missing: amounts are stored with two."""


def currency(text: str) -> str:
    """The parser of the variable. Raises ValueError."""
    if text not in DECIMALS:
        raise ValueError("a currency of ISO 4217 with two or no decimals, such as USD, EUR or JPY")
    return text


def decimals() -> int:
    """The decimals of the shop's currency."""
    return DECIMALS[settings.CURRENCY]


def rounded(amount: Decimal | None) -> Decimal | None:
    """An amount as answers show it: without a point if the shop's currency has no decimals."""
    return amount if amount is None or decimals() else amount.quantize(Decimal(1), ROUND_HALF_UP)


def amount_text(amount: Decimal, code: str = "", *, grouped: bool = False) -> str:
    """An amount as a text with the decimals of its currency: ``1500.00`` in USD, ``1500`` in JPY.

    ``code`` is the currency, by default the shop's. ``grouped`` puts commas between thousands, for texts that people
    read. Nothing is rounded: further decimals stay, and so do those of a currency that is not in `DECIMALS`.
    """
    whole, _, fraction = f"{amount:{',' if grouped else ''}f}".partition(".")
    places = DECIMALS.get(code or settings.CURRENCY)
    if places is not None:
        fraction = fraction.rstrip("0").ljust(places, "0")
    return f"{whole}.{fraction}" if fraction else whole


def grouped_amount(amount: Decimal, code: str) -> str:
    """An amount of any currency for people, such as ``1,234.50 EUR``. It has the currency's decimals."""
    return f"{amount_text(amount, code, grouped=True)} {code}"
