"""An order over several shards has a reservation, or a tombstone, on each: a model with a careless network.

A part of the design in docs/scaling.md, which the platform does not have.
"""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given
from hypothesis import strategies as st


@dataclass
class Shard:
    """Product-service on one shard, as `product_svc.reservations` works."""

    stock: int
    held: dict[int, int] = field(default_factory=dict)
    tombstones: set[int] = field(default_factory=set)

    def reserve(self, order: int, n: int) -> bool:
        if order in self.tombstones:
            return False
        if order not in self.held:
            if self.stock < n:
                return False
            self.stock -= n
            self.held[order] = n
        return True

    def release(self, order: int) -> None:
        self.stock += self.held.pop(order, 0)
        self.tombstones.add(order)


@dataclass
class Saga:
    """Order-service: orders that reserve on several shards, over a network that loses, delays and repeats."""

    shards: list[Shard]
    chance: Random
    confirmed: dict[int, dict[int, int]] = field(default_factory=dict)
    late: list[tuple[int, int, int]] = field(default_factory=list)
    releases: list[tuple[int, int]] = field(default_factory=list)

    def place(self, order: int, lines: dict[int, int]) -> None:
        """One order: pending, then reserved on each shard in turn, then confirmed, or else rejected with releases.

        Whatever goes wrong, recovery included, a release is stored for every shard of the order.
        """
        answers = [self.ask(order, shard, n) for shard, n in lines.items()]
        if all(answers) and self.chance.random() > 0.1:  # otherwise the process dies, and recovery rejects the order
            self.confirmed[order] = lines
        else:
            self.releases += [(order, shard) for shard in lines]
        self.deliver(self.chance.randint(0, 3))

    def ask(self, order: int, shard: int, n: int) -> bool:
        """Whether the shard is known to have reserved: a call may be late, and an answer may be lost."""
        fate = self.chance.random()
        if fate < 0.15:
            self.late.append((order, shard, n))
            return False
        answer = self.shards[shard].reserve(order, n)
        if fate < 0.3:
            self.late.append((order, shard, n))  # sent again
        return answer and fate > 0.1

    def deliver(self, number: int) -> None:
        """Some of what is on its way arrives, in any order; a release may arrive twice."""
        for _ in range(number):
            queue = self.chance.choice([self.late, self.releases])
            if queue:
                message = queue.pop(self.chance.randrange(len(queue)))
                if len(message) == 3:
                    self.shards[message[1]].reserve(message[0], message[2])
                else:
                    self.shards[message[1]].release(message[0])
                    self.releases += [message] if self.chance.random() < 0.2 else []
            assert all(shard.stock >= 0 for shard in self.shards)

    def end(self) -> None:
        while self.late or self.releases:
            self.deliver(1)


@given(st.randoms(use_true_random=False), st.integers(1, 4), st.integers(0, 30))
def test_an_order_over_several_shards_holds_all_of_its_stock_or_none(chance, number, stock):
    saga = Saga([Shard(stock) for _ in range(number)], chance)
    for order in range(30):
        wanted = chance.sample(range(number), chance.randint(1, number))
        saga.place(order, {shard: chance.randint(1, 3) for shard in wanted})
    saga.end()
    for place, shard in enumerate(saga.shards):
        expected = {order: lines[place] for order, lines in saga.confirmed.items() if place in lines}
        assert shard.held == expected, "all of what is confirmed, and nothing of what is rejected"
        assert shard.stock + sum(shard.held.values()) == stock
