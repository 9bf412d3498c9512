"""Whose bytes are next, played through second by second without a clock."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.interfaces import Urgency
from edgeproxy.remote.turns import Line, Turns, Waiter
from edgeproxy.remote.windows import LEAST_BURST, Terms, Window

CLIENT, REPLICATION, PREFETCH = Urgency
MB = 10**6
KIB = 1024
CHUNKS = st.integers(1, 3 * MB)
Passed = list[tuple[float, str, int]]


def line(rate: int | None = None, burst: int | None = None, *windows: Window) -> Line:
    return Line(Terms(rate, burst, windows), 0.0, int)


@dataclass
class Flight:
    """Reads chunks of one size as fast as they are admitted, from `begins` to `ends`."""

    name: str
    urgency: Urgency
    lines: tuple[Line, ...]
    chunk: int = 64 * KIB
    begins: float = 0.0
    ends: float = float("inf")
    think: float = 0.0
    """Seconds from one chunk's admission to the next one's arrival."""
    again: float = 0.0
    waiter: Waiter | None = None


@dataclass
class Play:
    """Flights that share lines; what passed, when."""

    flights: Iterable[Flight]
    passed: Passed = field(default_factory=list)
    turns: Turns = field(default_factory=Turns)

    def run(self, seconds: float) -> "Play":
        now = 0.0
        while now < seconds:
            now += max(self.step(now), 1e-4)
        return self

    def step(self, now: float) -> float:
        for _ in range(64):
            came = [self.read(flight, now) for flight in self.flights]
            if not any(came):
                break
        return self.turns.serve(now)

    def read(self, flight: Flight, now: float) -> bool:
        """Whether the next chunk came, and passed at once or began to wait."""
        if flight.waiter is not None and flight.waiter.admitted:
            self.passed.append((now, flight.name, flight.chunk))
            flight.waiter, flight.again = None, now + flight.think
        if flight.waiter is not None or not max(flight.begins, flight.again) <= now < flight.ends:
            return False
        if self.turns.passes(flight.lines, flight.chunk, flight.urgency, now):
            self.passed.append((now, flight.name, flight.chunk))
            flight.again = now + flight.think
            return True
        flight.waiter = Waiter(flight.lines, flight.chunk, flight.urgency, lambda: None)
        self.turns.add(flight.waiter)
        self.turns.serve(now)
        return True

    def got(self, name: str, start: float = 0.0, stop: float = float("inf")) -> int:
        return sum(size for at, flight, size in self.passed if flight == name and start <= at < stop)


# a line


@given(
    st.integers(1000, 100 * MB),
    st.integers(1, 10 * MB),
    st.lists(st.tuples(st.floats(0, 2), CHUNKS), min_size=1, max_size=60),
)
def test_never_more_passes_in_any_interval_than_its_seconds_and_a_burst_allow(
    rate: int, burst: int, arrivals: list[tuple[float, int]]
) -> None:
    bucket, now = line(rate, burst), 0.0
    passed: list[tuple[float, int]] = []
    for pause, size in arrivals:
        now += pause
        bucket.advance(now)
        if bucket.has(size):
            bucket.take(size)
            passed.append((now, size))
    for index, (start, _) in enumerate(passed):
        for stop in range(index, len(passed)):
            window = passed[index : stop + 1]
            most = rate * (window[-1][0] - start) + max(burst, *(size for _, size in window))
            assert sum(size for _, size in window) <= most * (1 + 1e-9) + 1


@given(st.integers(1, 100 * MB), st.integers(1, 10 * MB), st.integers(1, 2**40))
def test_no_chunk_is_too_large_to_pass(rate: int, burst: int, size: int) -> None:
    bucket = line(rate, burst)
    assert bucket.has(size)
    bucket.take(size)
    seconds = bucket.lacks_for(1)
    assert seconds == pytest.approx(max(0, 1 + size - burst) / rate)
    bucket.advance(seconds * (1 + 1e-9) + 1e-9)
    assert bucket.has(1)


def test_without_a_burst_it_is_a_second_s_worth_or_one_read() -> None:
    assert line(10 * MB).burst == 10 * MB
    assert line(1000).burst == LEAST_BURST


def test_a_window_takes_effect_when_it_begins() -> None:
    bucket = line(MB, None, Window(60, 120, None), Window(180, 60, 2 * MB))
    found = []
    for now in (0.0, 59.0, 61.0, 121.0, 181.0):
        bucket.advance(now)
        found.append(bucket.rate)
    assert found == [2 * MB, 2 * MB, None, MB, 2 * MB]


def test_a_clock_that_was_set_back_takes_and_gives_nothing() -> None:
    bucket = line(MB, MB)
    bucket.take(MB)
    bucket.advance(-3600.0)
    assert bucket.level == 0
    bucket.advance(-3599.5)
    assert bucket.level == pytest.approx(MB / 2)


# turns


@pytest.mark.parametrize("chunk", [64 * KIB, 1024 * KIB])
@pytest.mark.parametrize("urgency", [REPLICATION, PREFETCH])
@pytest.mark.parametrize("rate", [2 * MB, 10 * MB, 200 * MB])
def test_a_client_has_the_link_within_a_second(rate: int, urgency: Urgency, chunk: int) -> None:
    site = (line(rate),)
    others = [Flight(f"other {index}", urgency, site, chunk) for index in range(5)]
    play = Play([*others, Flight("client", CLIENT, site, chunk, begins=3.0)]).run(30.0)
    assert play.got("client", 4.0, 30.0) >= 0.9 * 26 * rate
    assert sum(size for at, _, size in play.passed if at <= 30.0) <= 31 * rate


def test_who_is_less_urgent_never_starves_and_has_all_that_clients_leave() -> None:
    site = (line(10 * MB),)
    flights = [Flight(urgency.name, urgency, site, ends=20.0 if urgency == CLIENT else 40.0) for urgency in Urgency]
    play = Play(flights).run(40.0)
    for name in ("REPLICATION", "PREFETCH"):
        assert 0 < play.got(name, 1.0, 20.0) <= 0.025 * 190 * MB
    assert play.got("REPLICATION", 20.2, 40.0) >= 0.95 * 198 * MB
    assert play.got("PREFETCH", 20.2, 40.0) > 0


@given(st.lists(st.integers(64 * KIB, 3 * MB), min_size=2, max_size=6), st.sampled_from(Urgency))
def test_of_one_urgency_all_are_served_in_turn(chunks: list[int], urgency: Urgency) -> None:
    site = (line(2 * MB, MB),)
    play = Play([Flight(str(index), urgency, site, chunk) for index, chunk in enumerate(chunks)]).run(20.0)
    served = [name for at, name, _ in play.passed if at > 2.0]
    counts = [served.count(str(index)) for index in range(len(chunks))]
    assert max(counts) - min(counts) <= 2


def test_one_upstream_s_bound_holds_nobody_else_up() -> None:
    site, slow = line(10 * MB), line(MB)
    play = Play(
        [
            Flight("slow client", CLIENT, (slow, site)),
            Flight("slow prefetch", PREFETCH, (slow, site)),
            Flight("replication", REPLICATION, (site,)),
        ]
    ).run(20.0)
    assert play.got("slow client", 2.0, 20.0) >= 0.9 * 18 * MB
    assert play.got("slow prefetch", 2.0, 20.0) <= 0.03 * 18 * MB
    assert play.got("replication", 2.0, 20.0) >= 0.85 * 9 * 18 * MB


def test_a_client_slower_than_the_link_leaves_the_rest() -> None:
    site = (line(10 * MB),)
    client = Flight("client", CLIENT, site, chunk=100_000, think=0.1)
    play = Play([client, Flight("prefetch", PREFETCH, site)]).run(20.0)
    assert play.got("client", 1.0) >= 0.8 * 19 * MB
    assert play.got("prefetch", 1.0) >= 0.3 * 9 * 19 * MB


@given(st.lists(st.tuples(st.sampled_from(Urgency), CHUNKS, st.integers(0, 2)), min_size=1, max_size=12))
def test_who_leaves_leaves_nothing_behind(given: list[tuple[Urgency, int, int]]) -> None:
    lines = [line(MB), line(2 * MB)]
    turns = Turns()
    lines[0].take(10 * MB)
    lines[1].take(10 * MB)
    waiters = [Waiter(tuple(lines[: 1 + which % 2]), size, urgency, lambda: None) for urgency, size, which in given]
    for waiter in waiters:
        turns.add(waiter)
        turns.serve(0.0)
    for waiter in waiters:
        turns.remove(waiter)
    assert not turns
    assert turns.any() is None
    assert all(each.waiting == [0, 0, 0] and each.owed == [0.0] * 3 for each in lines)
