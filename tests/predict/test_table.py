"""Slots are found again, come what may; manifests keep their parts, or none."""

from array import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.predict.parts import Parts
from edgeproxy.predict.table import Table, stamp

KEYS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=200)


@given(KEYS, st.integers(16, 64))
def test_what_was_taken_last_is_found(keys: list[int], limit: int) -> None:
    table, held = Table({"number": "q"}, limit), dict[int, int]()
    for now, key in enumerate(keys, 1):
        if table.find(key) >= 0:
            continue
        if table.full:
            gone = table.drop_oldest().tolist()
            held = {one: slot for one, slot in held.items() if slot not in gone}
        slot = held[key] = table.take(key, now)
        assert table.columns["number"][slot] == 0
        table.columns["number"][slot] = key
    assert len(table) == len(held) <= limit
    assert sorted(held.values()) == table.used().tolist()
    assert {key: table.find(key) for key in held} == held
    assert [table.columns["number"][slot] for slot in held.values()] == list(held)
    asked = np.array([*keys, 7], np.int64)
    assert table.find_all(asked).tolist() == [table.find(key) for key in asked.tolist()]


def test_thousands_are_found_after_some_have_gone() -> None:
    table = Table({}, 5000)
    keys = np.random.default_rng(1).integers(0, 2**60, 9000).tolist()
    for now, key in enumerate(keys, 1):
        if table.full:
            table.drop_oldest()
        table.take(key, now)
    found = [table.find(key) >= 0 for key in keys]
    assert sum(found) == len(table)
    assert found == sorted(found), "the first have gone"


@given(st.lists(st.lists(st.integers(0, 63), max_size=8), max_size=30), st.sets(st.integers(0, 63)))
def test_manifests_keep_their_parts_until_one_is_gone(named: list[list[int]], gone: set[int]) -> None:
    table = Table({"parts_at": "I"}, 64)
    for key in range(64):
        table.take(key, 1)
    parts = Parts(table)
    for slot, some in enumerate(named):
        parts.put(slot, array("i", some))
    parts.forget(np.array(sorted(gone), np.intp))
    for slot, some in enumerate(named):
        lost = slot in gone or not gone.isdisjoint(some)
        assert parts.known(slot) == (not lost)
        assert parts.of(slot).tolist() == ([] if lost else some)


def test_stamps_are_whole_seconds_and_never_is_long_ago() -> None:
    assert stamp(1_700_000_000.9) - stamp(1_700_000_000.0) == 0
    assert stamp(1_700_000_001.0) - stamp(1_700_000_000.0) == 1
    assert 0 < stamp(-1e30) < stamp(0.0) < stamp(1e30) < 2**32
    assert stamp(0.0) > 2**28
