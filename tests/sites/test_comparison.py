"""What a comparison of two listings has sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.interfaces import TagState
from edgeproxy.sites.comparison import differences
from edgeproxy.sites.versions import merge
from tests.sites.states import SOURCES, VALUES, histories, written

ONE, TWO = SOURCES[:2]
OLD = written(None, ONE, 5, VALUES[0])
NEW = written(OLD, TWO, 6, VALUES[1])
GONE = written(NEW, ONE, 7, None)
OTHER = written(None, TWO, 1, VALUES[2])

CASES = {
    # what we have, what they have: sent without deletions, with them
    "they have nothing": (NEW, None, True, True),
    "they have it": (NEW, NEW, False, False),
    "they have something older": (NEW, OLD, True, True),
    "they have something newer": (OLD, NEW, False, False),
    "neither has seen the other, ours wins": (OLD, OTHER, True, True),
    "neither has seen the other, theirs wins": (OTHER, OLD, True, True),
    "they have deleted it after us": (NEW, GONE, False, False),
    "they have deleted it without having seen ours": (OTHER, GONE._replace(version=OLD.version), True, True),
    "deleted here, and they still show it": (GONE, NEW, False, True),
    "deleted here, and they have written since": (GONE, written(GONE, TWO, 9, VALUES[0]), False, False),
    "deleted here, and they never had it": (GONE, None, False, False),
    "deleted here and there": (GONE, written(NEW, TWO, 8, None), False, False),
    "a plain registry has it": (NEW, VALUES[1], False, False),
    "a plain registry has something else": (NEW, VALUES[0], True, True),
    "a plain registry shows what is deleted here": (GONE, VALUES[1], False, True),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_sent(case: str) -> None:
    ours, theirs, without, with_deletions = CASES[case]
    listing = {} if theirs is None else {"1.0": theirs}
    assert differences({"1.0": ours}, listing, False) == (["1.0"] if without else [])
    assert differences({"1.0": ours}, listing, True) == (["1.0"] if with_deletions else [])


def test_a_plain_registry_names_the_same_by_its_digest() -> None:
    assert NEW.descriptor is not None
    relabelled = NEW.descriptor._replace(media_type="application/vnd.docker.distribution.manifest.v2+json")
    assert differences({"1.0": NEW}, {"1.0": relabelled}, True) == []


def test_only_what_differs_is_named() -> None:
    assert differences({"b": NEW, "a": NEW, "c": OLD}, {"a": NEW, "d": NEW}, True) == ["b", "c"]


@given(st.lists(histories(), min_size=1, max_size=3), st.data())
def test_once_sent_both_ways_nothing_differs(tags: list[list[TagState]], data: st.DataObject) -> None:
    names = [f"1.{number}" for number in range(len(tags))]
    ours, theirs = (
        {
            name: data.draw(st.sampled_from(seen))
            for name, seen in zip(names, tags, strict=True)
            if data.draw(st.booleans())
        }
        for _ in range(2)
    )
    before = dict(theirs)
    for name in differences(ours, theirs, True):
        theirs[name] = merge(theirs.get(name), ours[name]).state
    for name in differences(theirs, ours, True):
        ours[name] = merge(ours.get(name), theirs[name]).state
    assert differences(ours, theirs, True) == differences(theirs, ours, True) == []
    assert {name for name, state in ours.items() if state.descriptor} == {
        name for name, state in theirs.items() if state.descriptor
    }
    assert all(merge(state, before[name]).state == state for name, state in theirs.items() if name in before)
