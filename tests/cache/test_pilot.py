"""How many connections: climbed against links that are known."""

from collections.abc import Callable

import pytest

from edgeproxy.cache.pilot import MOST, Lessons, Pilot

MB = 10**6
SIZE = 1000 * MB
Link = Callable[[dict[str, int]], float]
"""Bytes per second that so many connections to each upstream bring together."""


def each(rate: float) -> Link:
    """Every connection is limited."""
    return lambda width: rate * sum(width.values())


def shared(rate: float, *, by: float = 1e18) -> Link:
    """All connections to an upstream share its link, and each is limited."""
    return lambda width: sum(min(rate, by * count) for count in width.values() if count)


def fly(link: Link, order: list[str], lessons: Lessons | None = None, seconds: float = 6.0, left: int = SIZE) -> Pilot:
    pilot, now, step = Pilot(lessons or Lessons()), 0.0, 0.05
    pilot.begin(order[0], now)
    while now < seconds and left > 0:
        now += step
        arrived = int(link(pilot.wanted) * step)
        pilot.received(arrived)
        left -= arrived
        if pilot.due(now, pilot.width) and pilot.decide(now, order, left):
            for name in pilot.wanted:
                pilot.begin(name, now)
    return pilot


def test_where_every_connection_is_limited_it_takes_as_many_as_it_may() -> None:
    assert fly(each(10 * MB), ["a"]).wanted == {"a": MOST}


def test_a_line_that_one_connection_fills_gets_no_more() -> None:
    assert fly(shared(40 * MB), ["a"]).wanted == {"a": 1}


@pytest.mark.parametrize(("rate", "width"), [(20, 2), (40, 4), (80, 8)])
def test_it_stops_where_the_line_is_full(rate: int, width: int) -> None:
    assert fly(shared(rate * MB, by=10 * MB), ["a"]).wanted == {"a": width}


def test_a_second_upstream_is_used_when_the_first_has_no_more() -> None:
    assert fly(shared(20 * MB), ["a", "b"]).wanted == {"a": 1, "b": 1}


def test_a_second_upstream_on_the_same_line_is_left_alone() -> None:
    assert fly(lambda width: 40 * MB, ["a", "b"]).wanted == {"a": 1, "b": 0}


def test_what_is_over_soon_is_left_as_it_is() -> None:
    assert fly(each(10 * MB), ["a"], left=9 * MB).wanted == {"a": 1}


def test_who_knows_no_ranges_gets_one_connection() -> None:
    pilot = Pilot(Lessons())
    pilot.drop("a")
    pilot.received(10 * MB)
    assert pilot.due(1.0, 1)
    assert not pilot.decide(1.0, ["a"], SIZE)


def test_what_was_learned_is_used_by_the_next_until_it_is_old() -> None:
    lessons = Lessons()
    fly(each(10 * MB), ["a"], lessons)
    for now, width in ((10.0, MOST), (100.0, 1)):
        pilot = Pilot(lessons)
        pilot.begin("a", now)
        assert pilot.wanted == {"a": width}
    assert pilot.rate == 0.0


def test_what_was_tried_in_vain_is_not_tried_by_the_next() -> None:
    lessons = Lessons()
    fly(lambda width: 40 * MB, ["a", "b"], lessons)
    tried: list[dict[str, int]] = []

    def line(width: dict[str, int]) -> float:
        tried.append(dict(width))
        return 40 * MB

    assert fly(line, ["a", "b"], lessons).wanted == {"a": 1, "b": 0}
    assert all(width == {"a": 1, "b": 0} for width in tried)


def test_who_was_of_use_beside_the_first_is_asked_at_once_by_the_next() -> None:
    lessons = Lessons()
    fly(shared(20 * MB), ["a", "b"], lessons)
    for leader, wanted in (("a", {"a": 1, "b": 1}), ("b", {"b": 1})):
        pilot = Pilot(lessons)
        pilot.begin(leader, 10.0)
        assert pilot.wanted == wanted


def test_an_answer_that_comes_after_the_verdict_changes_nothing() -> None:
    pilot = fly(lambda width: 40 * MB, ["a", "b"])
    pilot.begin("b", 10.0)
    assert pilot.wanted == {"a": 1, "b": 0}


def test_a_line_that_collapses_is_explored_again() -> None:
    now = 0.0

    def link(width: dict[str, int]) -> float:
        nonlocal now
        now += 0.05
        a = 40 * MB if now < 3 else 4 * MB
        return (a if width.get("a") else 0) + (40 * MB if width.get("b") else 0) * (now >= 3)

    assert fly(link, ["a", "b"], seconds=9.0).wanted["b"] >= 1


def test_new_connections_are_waited_for_but_not_for_ever() -> None:
    pilot = Pilot(Lessons())
    pilot.begin("a", 0.0)
    pilot.received(MB)
    assert pilot.due(0.3, 1)
    assert pilot.decide(0.3, ["a"], SIZE)
    assert not pilot.due(1.0, 1)
    assert not pilot.due(2.3, 1)  # the window begins now
    assert pilot.due(2.7, 1)
