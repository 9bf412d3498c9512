"""How long what is asked for stays after that: by what was asked for again, and after how long."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.interfaces import Access, Kind
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.predict.retention import EDGES, SHORTEST, Retention

REPOSITORY = Repository("docker.io", "shop/app")
NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86400.0


def tag(name: str) -> Tag:
    return Tag(REPOSITORY, name)


def app(number: int) -> Tag:
    """Each the newest of its repository."""
    return Tag(Repository("docker.io", f"shop/app-{number}"), "1.0.0")


def asked(reference: Reference, when: float, *, shown: bool = True, kind: Kind = "manifests") -> Access:
    digest = Digest.of(b"a") if shown else None
    return Access(NOW + when, 0, "HEAD", kind, reference, digest, 100, "hit", 0, 0.0)


def told(retention: Retention, name: str = "1.0.0", *, days: int, every: float = HOUR) -> Retention:
    """One tag is asked for now and then."""
    for step in range(int(days * DAY / every)):
        retention.observe(asked(tag(name), step * every))
    return retention


def test_without_a_budget_nothing_goes() -> None:
    assert told(Retention(0.0), days=60).ttl(tag("1.0.0")) == inf


def test_what_is_asked_for_often_goes_when_that_is_over() -> None:
    assert told(Retention(0.01), days=60).ttl(tag("1.0.0")) == SHORTEST


def test_a_few_requests_say_nothing() -> None:
    assert told(Retention(0.01), days=20).ttl(tag("1.0.0")) == inf
    assert told(Retention(0.01), days=60, every=6 * HOUR).ttl(tag("1.0.0")) == inf
    assert told(Retention(0.1), days=60, every=6 * HOUR).ttl(tag("1.0.0")) == inf
    assert told(Retention(0.1), days=90, every=6 * HOUR).ttl(tag("1.0.0")) == SHORTEST


def test_what_was_not_watched_for_long_enough_stays() -> None:
    assert told(Retention(0.01), days=8, every=HOUR / 4).ttl(tag("1.0.0")) == inf
    assert told(Retention(0.01), days=10, every=HOUR / 4).ttl(tag("1.0.0")) == SHORTEST


def test_a_class_by_itself() -> None:
    retention = told(Retention(0.01), days=60)
    assert retention.ttl(tag("1.0")) == inf
    assert retention.ttl(tag("latest")) == inf
    assert retention.ttl(Pinned(REPOSITORY, Digest.of(b"a"))) == inf


def test_what_a_newer_release_follows_is_a_class_of_its_own() -> None:
    retention = told(Retention(0.01), "1.0.9", days=60)
    assert retention.ttl(tag("1.0.9")) == SHORTEST
    retention.observe(asked(tag("1.0.8"), 60 * DAY))
    assert retention.ttl(tag("1.0.9")) == SHORTEST, "what comes later is not newer for that"
    retention.observe(asked(tag("1.0.10"), 60 * DAY))
    assert retention.ttl(tag("1.0.9")) == inf
    assert retention.ttl(tag("1.0.10")) == SHORTEST


def test_of_hashes_the_one_met_last_is_the_newest() -> None:
    retention = told(Retention(0.01), "fffffff0", days=60)
    retention.observe(asked(tag("00000001"), 60 * DAY))
    assert retention.ttl(tag("fffffff0")) == inf
    assert retention.ttl(tag("00000001")) == SHORTEST


def test_what_was_away_for_longer_stays_twice_as_long() -> None:
    retention = told(Retention(0.01), days=90)
    for week in range(13):
        retention.observe(asked(tag("2.0.0"), week * 7 * DAY))
    retention.observe(asked(tag("2.0.0"), 85 * DAY))
    assert retention.ttl(tag("2.0.0")) == 14 * DAY


def test_the_share_that_comes_too_late_is_what_it_may_be() -> None:
    """Some are asked for every ten days and the others every hour: these are too many to come too late."""
    retention = Retention(0.001)
    happenings = [(when, place) for place in range(98) for when in range(60 * 24)]
    happenings += [(10 * 24 * each, 100 + place) for place in range(200) for each in range(6)]
    for when, place in sorted(happenings):
        retention.observe(asked(app(place), when * HOUR))
    short = retention.ttl(app(5))
    assert 10 * DAY <= short <= 15 * DAY
    requests = 98 * (60 * 24 - 1) + 200 * 5
    assert retention.late == pytest.approx(24 / requests), "of 24 thousand so far, one more than may be late"


@pytest.mark.parametrize(("rare", "stays"), [(4, SHORTEST), (6, 5 * DAY)])
def test_all_that_comes_too_late_counts_together(rare: int, stays: float) -> None:
    """Of a thousand requests ten may; some come after five days, and as many after twenty."""
    retention = told(Retention(0.01), days=1000 // 24)
    for place in range(rare):
        for away in (5, 20):
            retention.observe(asked(app(100 * place + away), 0.0))
            retention.observe(asked(app(100 * place + away), away * DAY))
    retention.observe(asked(tag("1.0.0"), 1000 * HOUR))
    assert stays <= retention.ttl(tag("1.0.0")) <= stays * 1.5


def test_what_was_not_shown_does_not_count_nor_does_a_blob() -> None:
    retention = Retention(0.01)
    for step in range(60 * 24):
        retention.observe(asked(tag("1.0.0"), step * HOUR, shown=False))
        retention.observe(asked(Pinned(REPOSITORY, Digest.of(b"a")), step * HOUR, kind="blobs"))
    assert retention.ttl(tag("1.0.0")) == inf
    assert retention.ttl(Pinned(REPOSITORY, Digest.of(b"a"))) == inf


def test_what_was_asked_for_longest_ago_is_forgotten() -> None:
    retention = Retention(0.01)
    for week in range(2):
        retention.observe(asked(app(0), week * 7 * DAY))
    told(retention, days=60)
    for number in range(2, 50_000):
        retention.observe(asked(app(number), 60 * DAY))
    assert retention.ttl(app(0)) == 14 * DAY
    retention.observe(asked(app(50_000), 60 * DAY))
    assert retention.ttl(app(0)) == SHORTEST, "as others of its class"


@given(st.lists(st.tuples(st.floats(-DAY, 40 * DAY), st.sampled_from(["1.0", "1.1", "latest", "0f0f0f0f"]))))
def test_clocks_that_are_set_back(steps: list[tuple[float, str]]) -> None:
    retention, when = Retention(0.5), 0.0
    for step, name in steps:
        when += step
        retention.observe(asked(tag(name), when))
        assert retention.ttl(tag(name)) >= SHORTEST
    assert 0.0 <= retention.late <= 1.0


def test_what_is_counted_together_is_told_apart_well_enough() -> None:
    assert EDGES[0] == HOUR
    assert EDGES[-1] == pytest.approx(341 * DAY, rel=0.01)
