from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.oci.digest import Digest
from edgeproxy.store.memory import MemoryTier

DIGESTS = [Digest.of(bytes([number])) for number in range(8)]
OVERHEAD = 250
"""Bytes counted for an entry beside its body."""
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "get", "drop"]), st.sampled_from(DIGESTS), st.integers(0, 700)), max_size=60
)


@given(STEPS, st.integers(0, 3000), st.integers(0, 700))
def test_it_is_the_most_recently_used_that_fit(steps: list[tuple[str, Digest, int]], budget: int, largest: int) -> None:
    largest = min(largest, max(0, budget - OVERHEAD))
    tier, model = MemoryTier(budget, largest), OrderedDict[Digest, bytes]()
    for verb, digest, size in steps:
        body = bytes(size)
        if verb == "get":
            assert tier.get(digest) == model.get(digest)
            if digest in model:
                model.move_to_end(digest)
        elif verb == "drop":
            tier.drop(digest)
            model.pop(digest, None)
        elif size <= largest and size + OVERHEAD <= budget and digest not in model:
            tier.put(digest, body)
            model[digest] = body
            while sum(len(kept) + OVERHEAD for kept in model.values()) > budget:
                model.popitem(last=False)
        else:
            tier.put(digest, body)
        assert tier.size == sum(len(kept) + OVERHEAD for kept in model.values()) <= budget
    assert {digest: tier.get(digest) for digest in DIGESTS} == {digest: model.get(digest) for digest in DIGESTS}


def test_what_is_larger_than_the_largest_is_not_taken() -> None:
    tier = MemoryTier(10_000, 100)
    tier.put(DIGESTS[0], bytes(100))
    tier.put(DIGESTS[1], bytes(101))
    assert tier.get(DIGESTS[0]) is not None
    assert tier.get(DIGESTS[1]) is None


def test_no_entry_is_larger_than_the_budget() -> None:
    assert MemoryTier(50, 100).largest <= 50


def test_it_fills_to_the_last_byte() -> None:
    tier = MemoryTier(2 * (OVERHEAD + 10), 1000)
    tier.put(DIGESTS[0], bytes(10))
    tier.put(DIGESTS[1], bytes(10))
    assert tier.get(DIGESTS[0]) == bytes(10)
    tier.put(DIGESTS[2], bytes(1))
    assert tier.get(DIGESTS[1]) is None


def test_what_cannot_stay_drives_nothing_out() -> None:
    tier = MemoryTier(1000, 1000)
    tier.put(DIGESTS[0], bytes(10))
    tier.put(DIGESTS[1], bytes(900))
    assert tier.get(DIGESTS[0]) == bytes(10)


def test_a_second_put_changes_nothing() -> None:
    tier = MemoryTier(10_000, 1000)
    tier.put(DIGESTS[0], b"body")
    size = tier.size
    tier.put(DIGESTS[0], b"body")
    assert tier.size == size
