"""How long tags stay fresh: by their names, by how often they move, and by what share of answers may be stale."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproxy.interfaces import Access, Checked, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Repository, Tag
from edgeproxy.predict.freshness import FIRST, LONGEST, SHORTEST, Freshness, Rhythm, kind_of

REPOSITORY = Repository("docker.io", "shop/app")
NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86400.0


def tag(name: str) -> Tag:
    return Tag(REPOSITORY, name)


def release(number: int) -> Descriptor:
    return Descriptor("", Digest.of(str(number).encode()), 1000)


def asked(name: str, when: float, number: int) -> Access:
    named = release(number)
    return Access(NOW + when, 0, "HEAD", "manifests", tag(name), named.digest, named.size, "hit", named.size, 0.0)


def told(freshness: Freshness, name: str, moves_every: float, days: int, each: float = HOUR) -> Freshness:
    """It is checked once in `each` seconds, and asked for twice."""
    when = 0.0
    while when < days * DAY:
        number = int(when / moves_every)
        freshness.observe(Checked(NOW + when, tag(name), release(number)))
        for later in (0.0, each / 2):
            freshness.observe(asked(name, when + later, int((when + later) / moves_every)))
        when += each
    return freshness


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("1.25.3", 0),
        ("v1.2.3-alpine", 0),
        ("2024.05.1", 0),
        ("20240501", 0),
        ("main-1f2e3d4c", 0),
        ("1.25", 1),
        ("3", 1),
        ("3-slim", 1),
        ("latest", 2),
        ("stable-alpine", 2),
    ],
)
def test_what_a_name_says(name: str, kind: int) -> None:
    assert kind_of(name) == kind


def test_what_is_not_known_stays_fresh_as_without_a_policy() -> None:
    freshness = Freshness()
    assert freshness.ttl(tag("latest")) == FIRST
    freshness.observe(asked("latest", 0.0, 1))
    assert freshness.ttl(tag("latest")) == FIRST
    told(freshness, "latest", 3 * DAY, 1)
    assert freshness.ttl(tag("latest")) != FIRST
    freshness.observe(Checked(NOW + DAY, tag("latest"), None))
    assert freshness.ttl(tag("latest")) == FIRST, "it is gone upstream"


def test_a_full_version_stays_fresh_for_longer_than_a_name() -> None:
    freshness = Freshness()
    for name in ("1.2.3", "1.2", "latest"):
        freshness.observe(Checked(NOW, tag(name), release(1)))
        freshness.observe(asked(name, 0.0, 1))
    spans = [freshness.ttl(tag(name)) for name in ("1.2.3", "1.2", "latest")]
    assert spans == sorted(spans, reverse=True)
    assert len(set(spans)) == 3


def test_what_moves_often_stays_fresh_for_a_shorter_time() -> None:
    seldom, often = (told(Freshness(), "latest", every, 20).ttl(tag("latest")) for every in (5 * DAY, DAY / 4))
    assert often < seldom / 2


def test_what_moved_just_now_stays_fresh_for_longer_than_what_is_due() -> None:
    freshness = told(Freshness(), "latest", DAY, 20)
    when = 20 * DAY
    freshness.observe(Checked(NOW + when, tag("latest"), release(20)))
    early = freshness.ttl(tag("latest"))
    freshness.observe(Checked(NOW + when + 0.95 * DAY, tag("latest"), release(20)))
    assert freshness.ttl(tag("latest")) < early / 2


def test_a_roll_out_makes_it_be_checked_sooner_than_as_many_requests_in_a_day() -> None:
    spans = []
    for apart in (2.0, 600.0):
        freshness = told(Freshness(), "latest", 2 * DAY, 20, each=6 * HOUR)
        for place in range(128):
            freshness.observe(asked("latest", 20 * DAY + place * apart, 10))
        spans.append(freshness.ttl(tag("latest")))
    assert spans[0] < spans[1] / 2


def test_the_more_may_be_stale_the_longer_all_stays_fresh() -> None:
    strict, lax = (told(Freshness(share), "latest", DAY, 40, HOUR / 4).ttl(tag("latest")) for share in (0.001, 0.1))
    assert strict < lax


def test_a_rhythm_is_learned_although_nobody_saw_the_moment() -> None:
    rhythm = Rhythm()
    assert rhythm.moves(0.0, 1.0) == pytest.approx(1.0), "at first any time is as likely"
    for _ in range(100):
        rhythm.learn(0.0, 0.75, moved=False)
        rhythm.learn(0.75, 1.25, moved=True)
    assert rhythm.moves(0.0, 0.5) < 0.15
    assert rhythm.moves(0.75, 1.25) > 0.8


HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(["1.2.3", "1.2", "latest"]),
        st.integers(0, 3),
        st.floats(-10.0, 1e7),
        st.sampled_from(["asked", "checked", "gone"]),
    ),
    max_size=60,
)


@given(HAPPENINGS, st.floats(0.0001, 0.5))
@example([("1.2.3", 0, 0.0, "checked"), ("1.2.3", 1, -1.0, "checked"), ("1.2.3", 0, 0.0, "checked")], 0.5)
def test_whatever_happens_no_bound_is_exceeded(steps: list[tuple[str, int, float, str]], stale: float) -> None:
    freshness, now = Freshness(stale), 0.0
    for name, number, later, what in steps:
        now += later
        freshness.observe(next(_happening(name, number, now, what)))
        for known in ("1.2.3", "1.2", "latest"):
            span = freshness.ttl(tag(known))
            assert span == FIRST or SHORTEST <= span <= LONGEST[kind_of(known)]


def _happening(name: str, number: int, now: float, what: str) -> Iterator[Happening]:
    if what == "asked":
        yield asked(name, now, number)
    yield Checked(NOW + now, tag(name), None if what == "gone" else release(number))


def test_a_clock_that_is_set_back_far_is_no_trouble() -> None:
    freshness = Freshness()
    for now, number in ((0.0, 0), (1e6, 1), (2e6, 2), (1e5, 2)):
        freshness.observe(Checked(NOW + now, tag("latest"), release(number)))
    assert SHORTEST <= freshness.ttl(tag("latest")) <= LONGEST[kind_of("latest")]
