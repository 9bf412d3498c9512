"""How background traffic yields, on a link played through without a clock."""

from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.remote.yielding import Usual, Yielding

MB = 10**6
STEP = 0.05
LEAST = 16 * 1024


@dataclass
class Site:
    """A link whose users share it evenly, and whose queue makes answers late while it is full."""

    capacity: float = 10.0 * MB
    yielding: Yielding = field(default_factory=lambda: Yielding(0.0))
    now: float = 0.0
    client: float = 0.0
    background: float = 0.0
    """Bytes that each has got."""

    def run(self, seconds: float, *, clients: float = 0.0, background: float = inf, misses: bool = False) -> "Site":
        """Clients, and background traffic, want so many bytes per second."""
        self.client = self.background = 0.0
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            if self.yielding.is_due(self.now) and background:
                self.yielding.look(self.now)
            wanted = min(background, self.yielding.limit)
            ours = min(wanted, max(self.capacity / 2, self.capacity - clients))
            theirs = min(clients, self.capacity - ours)
            if misses:
                late = 0.5 if wanted + clients > self.capacity else 0.0
                self.yielding.began("hub", 0.1 + late, self.now)
            if theirs:
                self.client += theirs * STEP
                self.yielding.to_client("hub", int(theirs * STEP), self.now)
            if ours:
                self.background += ours * STEP
                self.yielding.to_background(int(ours * STEP), self.now)
        return self

    def share(self, seconds: float) -> float:
        """Of the link, what background traffic had in the last so many seconds."""
        return self.background / (self.capacity * seconds)


def test_without_clients_there_is_no_bound() -> None:
    assert Site().run(30.0).share(30.0) == pytest.approx(1.0)


@pytest.mark.parametrize("capacity", [0.5 * MB, 10.0 * MB, 1000.0 * MB])
def test_clients_that_come_have_the_link_within_a_second(capacity: float) -> None:
    site = Site(capacity).run(20.0)
    site.run(1.0, clients=inf)
    assert site.run(10.0, clients=capacity).share(10.0) <= 0.15
    site = Site(capacity).run(10.0, clients=capacity, background=0.0).run(10.0)
    site.run(1.0, clients=capacity)
    assert site.run(30.0, clients=capacity).share(30.0) <= 0.1


def test_answers_later_than_usual_make_it_yield() -> None:
    site = Site().run(10.0, background=0.0, clients=MB, misses=True).run(5.0)
    assert site.run(60.0, clients=MB, misses=True).client == pytest.approx(60 * MB)
    late = [site.run(1.0, clients=MB, misses=True).share(1.0) for _ in range(20)]
    assert max(late) <= 0.95
    assert sum(late) / len(late) >= 0.4


def test_what_clients_leave_is_taken_again() -> None:
    site = Site().run(20.0).run(20.0, clients=10 * MB)
    assert site.run(12.0).share(12.0) >= 0.6
    assert site.yielding.limit == inf


def test_clients_that_are_slow_by_themselves_are_not_waited_for() -> None:
    site = Site().run(10.0, clients=10 * MB, background=0.0).run(10.0)
    site.run(60.0, clients=MB)  # a tenth of what is usual there, whatever background traffic does
    assert site.run(30.0, clients=MB).share(30.0) >= 0.5


def test_who_has_nothing_to_compare_with_yields_first() -> None:
    yielding = Yielding(0.0)
    yielding.to_background(MB, 0.5)
    yielding.to_background(MB, 1.0)
    yielding.look(1.0)
    yielding.began("hub", 0.1, 1.1)
    assert yielding.limit < MB


@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(0, 3), st.integers(0, 10**9)), max_size=50))
def test_whatever_is_measured_something_is_always_left(events: list[tuple[float, int, int]]) -> None:
    yielding, now = Yielding(0.0), 0.0
    for pause, what, amount in events:
        now += pause
        if what == 0:
            yielding.began("hub", amount / 10**8, now)
        elif what == 1:
            yielding.to_client("hub", amount, now)
        elif what == 2:
            yielding.to_background(amount, now)
        else:
            yielding.look(now)
        assert yielding.limit >= LEAST


def test_what_is_usual_is_learned_only_alone_or_downwards() -> None:
    usual = Usual(factor=1.5, slack=0.0)
    assert usual.exceeded(2.0, alone=False)
    assert not usual.exceeded(1.0, alone=False)
    assert usual.value == 1.75
    assert usual.exceeded(9.0, alone=False)
    assert usual.value == 1.75
    assert not usual.exceeded(9.75, alone=True)
    assert usual.value == 3.75
