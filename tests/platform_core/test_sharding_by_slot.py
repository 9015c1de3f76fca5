"""The ids of orders carry the slot in which the order is.

A part of the design in docs/scaling.md, which the platform does not have.
"""

import hashlib

from hypothesis import example, given
from hypothesis import strategies as st

from platform_core.conf.environment import ROOT

SLOTS, SPAN = 1024, 1 << 43


def slot_of(user_id: int) -> int:
    """The slot of a user's orders, 1 to 1023. Slot 0 is that of ids from before there were slots."""
    return int.from_bytes(hashlib.sha256(str(user_id).encode()).digest()[:8]) % (SLOTS - 1) + 1


def order_id(slot: int, number: int) -> int:
    """The id of the order with this number, from 1, in the sequence of a slot."""
    return slot * SPAN + number


def slot_in(order: int) -> int:
    return order // SPAN


@given(st.integers(1, SLOTS - 1), st.integers(1, SPAN - 1))
@example(SLOTS - 1, SPAN - 1)
def test_an_order_id_carries_its_slot_and_fits_every_client(slot, number):
    order = order_id(slot, number)
    assert slot_in(order) == slot
    assert order < 2**53, "JavaScript's numbers are exact up to there"
    assert order_id(slot, number) != order_id(slot, number - 1)


@given(st.integers(1, SPAN - 1))
def test_an_id_from_before_there_were_slots_is_in_slot_0(order):
    assert slot_in(order) == 0


def test_users_are_spread_evenly_over_slots_and_no_one_is_in_slot_0():
    counts = [0] * SLOTS
    for user in range(1, 200_001):
        counts[slot_of(user)] += 1
    assert counts[0] == 0
    assert min(counts[1:]) > 100 and max(counts) < 300, "195 on average"


def test_the_page_says_the_same():
    page = (ROOT / "docs" / "scaling.md").read_text()
    assert f"{SLOTS:,} slots" in page
    assert f"slot · 2^{SPAN.bit_length() - 1} + number" in page
    assert "int(first 8 bytes) % 1023 + 1" in page
