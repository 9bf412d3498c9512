"""Whose bytes are whose."""

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.cache.segments import Claim, Segments, gaps
from edgeproxy.interfaces import Span

SIZE = 60


def test_the_earliest_bytes_are_taken_first() -> None:
    segments = Segments([Span(10, 30), Span(40, 50)])
    taken = [segments.take(15) for _ in range(4)]
    assert [(each.position, each.stop) for each in taken if each] == [(10, 25), (25, 30), (40, 50)]
    assert (taken[3], segments.free) == (None, 0)


def test_what_was_not_brought_is_taken_by_the_next() -> None:
    segments = Segments([Span(0, 100)])
    first, second = segments.take(50), segments.take(50)
    assert first
    assert second
    assert first.advance(20) == 0
    segments.give_back(first)
    again = segments.take(100)
    assert again
    assert (again.position, again.stop, first.left) == (20, 50, 0)


def test_a_claim_grows_into_what_nobody_brings() -> None:
    segments = Segments([Span(0, 100)])
    first, second = segments.take(10), segments.take(10)
    assert first
    assert second
    assert not segments.extend(first, 10)
    assert segments.extend(second, 30)
    assert (second.stop, segments.free) == (50, 50)


def test_an_unknown_end_takes_whatever_comes() -> None:
    claim = Claim(5, None)
    assert (claim.advance(10), claim.position, claim.left) == (5, 15, 0)
    Segments([]).cut(claim, 7)
    assert claim.stop is None


SPANS = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)), max_size=4)


@given(st.integers(0, SIZE), SPANS)
def test_gaps_are_what_is_missing(offset: int, pairs: list[tuple[int, int]]) -> None:
    here = set(range(offset))
    ahead: list[Span] = []
    for start, stop in sorted(pairs):
        if start > max([offset, *(span.stop for span in ahead)]) and stop > start:
            ahead.append(Span(start, stop))
            here |= set(range(start, stop))
    missing = [byte for span in gaps(SIZE, offset, ahead) for byte in range(span.start, span.stop)]
    assert missing == [byte for byte in range(SIZE) if byte not in here]


@given(st.data())
def test_every_byte_is_brought_once_whatever_fails(data: st.DataObject) -> None:
    """Connections take, bring, fail, grow and are cut short at random."""
    segments, brought, claims = Segments([Span(0, SIZE)]), [0] * SIZE, list[Claim]()
    for _ in range(200):
        action = data.draw(st.sampled_from(["take", "bring", "fail", "cut", "extend"]))
        if action == "take" or not claims:
            claim = segments.take(data.draw(st.integers(1, SIZE)))
            claims += [claim] if claim else []
            continue
        claim = data.draw(st.sampled_from(claims))
        if action == "bring":
            start = claim.advance(data.draw(st.integers(1, 20)))
            for byte in range(start, claim.position):
                brought[byte] += 1
        elif action == "fail":
            segments.give_back(claim)
            claims.remove(claim)
        elif action == "cut":
            segments.cut(claim, data.draw(st.integers(claim.position, SIZE)))
        else:
            segments.extend(claim, data.draw(st.integers(1, SIZE)))
    for claim in claims:
        segments.give_back(claim)
    while (claim := segments.take(SIZE)) is not None:
        for byte in range(claim.position, claim.stop or 0):
            brought[byte] += 1
    assert brought == [1] * SIZE
