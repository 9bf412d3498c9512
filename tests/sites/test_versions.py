"""The join of states of a tag: laws, and what each case is called."""

from functools import reduce
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.interfaces import TagState
from edgeproxy.oci.version import Version, parse_version
from edgeproxy.sites.versions import Outcome, covers, issue, merge, onward
from tests.sites.states import SOURCES, VALUES, histories, written

ONE, TWO, THREE = SOURCES[:3]
HOUR = 3_600_000


def join(known: TagState, incoming: TagState) -> TagState:
    return merge(known, incoming).state


@given(histories(), st.data())
def test_the_merge_is_a_join(seen: list[TagState], data: st.DataObject) -> None:
    a, b, c = (data.draw(st.sampled_from(seen)) for _ in range(3))
    assert join(a, b) == join(b, a)
    assert join(join(a, b), c) == join(a, join(b, c))
    assert join(a, a) == a
    assert join(join(a, b), b) == join(a, b)


@given(st.lists(histories().map(lambda seen: seen[-1]), min_size=2, max_size=4))
def test_it_is_a_join_even_of_states_that_share_counts(states: list[TagState]) -> None:
    """As after a restore from a backup: histories that know nothing of each other, by the same sites."""
    assert len({repr((state.descriptor, str(state.version))) for state in _orders(states)}) == 1


def _orders(states: list[TagState]) -> list[TagState]:
    return [reduce(join, order) for order in permutations(states)]


@given(histories(), st.data())
def test_the_outcome_says_what_the_vectors_say(seen: list[TagState], data: st.DataObject) -> None:
    known, incoming = (data.draw(st.sampled_from(seen)) for _ in range(2))
    merged = merge(known, incoming)
    if covers(known.version, incoming.version):
        assert merged == (Outcome.SEEN, known, None)
    elif covers(incoming.version, known.version):
        assert merged == (Outcome.APPLIED, incoming, None)
    else:
        assert merged.outcome in (Outcome.WON, Outcome.LOST)
        held, gone = (incoming, known) if merged.outcome is Outcome.WON else (known, incoming)
        assert merged.state.descriptor == held.descriptor
        assert held.version[:2] > gone.version[:2]
        assert merged.loser in (None, gone)
        assert covers(merged.state.version, known.version)
        assert covers(merged.state.version, incoming.version)


@given(histories(), st.sampled_from(SOURCES), st.integers(0, 10))
def test_a_write_is_later_than_all_its_writer_knew(seen: list[TagState], source: str, now_ms: int) -> None:
    for known in seen:
        version = issue(known, source, now_ms)
        assert version.stamp > known.version.stamp
        assert version.stamp >= now_ms
        assert covers(version, known.version)
        assert not covers(known.version, version)
        assert merge(known, TagState(None, version)).outcome is Outcome.APPLIED
        assert parse_version(str(version)) == version


def test_the_first_write_counts_one() -> None:
    assert issue(None, ONE, 1_000) == Version(1_000, ONE, {ONE: 1})


def test_a_clock_hours_behind_still_replaces_what_it_saw() -> None:
    ahead = written(None, ONE, 10 * HOUR, VALUES[0])
    after = written(ahead, TWO, HOUR, VALUES[1])
    assert after.version == Version(10 * HOUR + 1, TWO, {ONE: 1, TWO: 1})
    assert merge(ahead, after) == (Outcome.APPLIED, after, None)
    assert merge(after, ahead) == (Outcome.SEEN, after, None)


def test_what_is_not_known_here_is_applied() -> None:
    state = written(None, ONE, 1, VALUES[0])
    assert merge(None, state) == (Outcome.APPLIED, state, None)


def test_of_two_that_did_not_know_each_other_the_later_wins_and_the_other_is_named() -> None:
    early, late = written(None, TWO, 5, VALUES[0]), written(None, ONE, 6, VALUES[1])
    both = TagState(VALUES[1], Version(6, ONE, {ONE: 1, TWO: 1}))
    assert merge(early, late) == (Outcome.WON, both, early)
    assert merge(late, early) == (Outcome.LOST, both, early)


def test_at_the_same_moment_the_source_decides() -> None:
    one, two = written(None, ONE, 5, VALUES[1]), written(None, TWO, 5, VALUES[0])
    assert merge(one, two).state.descriptor == merge(two, one).state.descriptor == VALUES[0]


def test_the_same_value_on_both_sides_is_no_conflict() -> None:
    one, two = written(None, ONE, 5, VALUES[0]), written(None, TWO, 6, VALUES[0])
    assert merge(one, two).loser is None
    gone, too = written(None, ONE, 5, None), written(None, TWO, 6, None)
    assert merge(too, gone).loser is None


def test_a_deletion_may_win_and_what_it_takes_away_is_named() -> None:
    kept, deleted = written(None, ONE, 5, VALUES[0]), written(None, TWO, 6, None)
    assert merge(kept, deleted) == (Outcome.WON, TagState(None, Version(6, TWO, {ONE: 1, TWO: 1})), kept)


def test_what_the_winner_replaced_knowingly_is_no_conflict() -> None:
    first = written(None, ONE, 5, VALUES[0])
    other = written(None, THREE, 4, VALUES[2])
    known = merge(first, other).state
    replaced = written(first, TWO, 7, VALUES[1])
    merged = merge(known, replaced)
    assert (merged.outcome, merged.state.descriptor, merged.loser) == (Outcome.WON, VALUES[1], None)


def test_growth_goes_to_those_it_has_not_come_through() -> None:
    state = written(None, ONE, 5, VALUES[0])
    assert onward(merge(None, state), [ONE], TWO, [ONE, THREE]) == ((THREE,), (ONE, TWO))


def test_what_was_merged_here_is_news_to_everybody() -> None:
    known, incoming = written(None, TWO, 5, VALUES[0]), written(None, ONE, 6, VALUES[1])
    for mine, theirs in ((known, incoming), (incoming, known)):
        assert onward(merge(mine, theirs), [ONE], TWO, [ONE, THREE]) == ((ONE, THREE), (TWO,))


def test_what_is_known_is_not_passed_on() -> None:
    state = written(None, ONE, 5, VALUES[0])
    assert onward(merge(state, state), [ONE], TWO, [ONE, THREE]).to == ()
