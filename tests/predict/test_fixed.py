from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.interfaces import Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Repository, Tag
from edgeproxy.predict.fixed import FixedPolicy

POLICY = FixedPolicy()
NOW = 1_700_000_000.0
YEAR = 366 * 86400.0
TAG = Tag(Repository("docker.io", "library/nginx"), "latest")
ANY = st.builds(
    Held,
    st.just(Digest.of(b"")),
    size=st.integers(0, 10**12),
    stored=st.just(0.0),
    used=st.floats(NOW - YEAR, NOW + 10),
    uses=st.integers(1, 10**6),
)


@given(ANY, st.integers(1, 10**6))
def test_more_uses_are_worth_no_less(held: Held, more: int) -> None:
    assert POLICY.worth(replace(held, uses=held.uses + more), NOW) >= POLICY.worth(held, NOW)


@given(ANY, st.floats(0, YEAR))
def test_a_longer_time_without_use_is_worth_no_more(held: Held, longer: float) -> None:
    assert POLICY.worth(replace(held, used=held.used - longer), NOW) <= POLICY.worth(held, NOW)
    assert POLICY.worth(held, NOW + longer) <= POLICY.worth(held, NOW)


@given(ANY, st.integers(1, 10**12))
def test_a_larger_size_is_worth_no_more(held: Held, larger: int) -> None:
    assert POLICY.worth(replace(held, size=held.size + larger), NOW) <= POLICY.worth(held, NOW)


@given(ANY, ANY)
def test_what_is_in_use_goes_after_everything_else(one: Held, other: Held) -> None:
    in_use, idle = replace(one, used=NOW - 599), replace(other, used=min(other.used, NOW - 600))
    assert POLICY.worth(in_use, NOW) > POLICY.worth(idle, NOW)


def test_of_two_alike_the_one_that_differs_tells() -> None:
    held = Held(Digest.of(b""), 10**6, 0.0, NOW - 86400, 5)
    worth = POLICY.worth(held, NOW)
    assert POLICY.worth(replace(held, uses=6), NOW) > worth
    assert POLICY.worth(replace(held, used=NOW - 80000), NOW) > worth
    assert POLICY.worth(replace(held, size=10**6 - 1000), NOW) > worth


def test_a_week_without_use_halves_what_it_is_worth() -> None:
    held = Held(Digest.of(b""), 10**6, 0.0, NOW - 86400, 5)
    assert POLICY.worth(held, NOW + 7 * 86400) * 2 == POLICY.worth(held, NOW)


def test_a_clock_that_was_set_back_makes_nothing_worthless() -> None:
    held = Held(Digest.of(b""), 10**6, 0.0, NOW + YEAR, 5)
    assert POLICY.worth(held, NOW) == POLICY.worth(replace(held, used=NOW), NOW)


def test_a_tag_is_fresh_for_some_minutes() -> None:
    assert POLICY.ttl(TAG, NOW) == 300.0
