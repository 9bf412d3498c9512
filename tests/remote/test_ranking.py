"""Who is asked first, decided from measurements."""

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.remote.ranking import Candidate, Estimate, rank

MB = 10**6
NEAR, FAR = Estimate().answered(0.02), Estimate().answered(0.12)


def order(*estimates: Estimate, leader: int | None = None, now: float = 0.0) -> list[int]:
    return rank([Candidate(each) for each in estimates], leader, now)


def after(estimate: Estimate, *seconds: float) -> Estimate:
    for each in seconds:
        estimate = estimate.answered(each)
    return estimate


def test_the_nearer_is_first() -> None:
    assert order(FAR, NEAR) == [1, 0]
    assert order(NEAR, FAR) == [0, 1]


def test_who_was_never_asked_may_show_what_it_can() -> None:
    assert order(NEAR, Estimate()) == [1, 0]


def test_a_fast_line_beats_a_short_way() -> None:
    slow = NEAR.delivered(MB, 1.0, 0.0)
    fast = FAR.delivered(40 * MB, 1.0, 0.0)
    assert order(slow, fast) == [1, 0]


def test_a_throughput_not_known_is_taken_for_the_best_known() -> None:
    assert order(NEAR, FAR.delivered(40 * MB, 1.0, 0.0)) == [0, 1]


def test_ten_times_slower_loses_its_place_within_a_few_answers() -> None:
    slowed = after(NEAR, *[0.2] * 3)
    assert order(slowed, FAR, leader=0) == [1, 0]
    paced = NEAR.delivered(40 * MB, 1.0, 0.0).delivered(4 * MB, 1.0, 1.0).delivered(4 * MB, 1.0, 2.0)
    assert order(paced, FAR.delivered(40 * MB, 1.0, 0.0), leader=0, now=2.0) == [1, 0]


def test_it_takes_its_place_again_when_it_has_recovered() -> None:
    recovered = after(NEAR, *[0.2] * 5, *[0.02] * 5)
    assert order(recovered, FAR, leader=1) == [0, 1]


def test_a_slow_line_is_forgotten_in_time() -> None:
    slow = NEAR.delivered(MB, 1.0, 0.0)
    fast = FAR.delivered(40 * MB, 1.0, 29.0)
    assert order(slow, fast, leader=1, now=29.0) == [1, 0]
    assert order(slow, fast, leader=1, now=31.0) == [0, 1]


def test_who_leads_stays_unless_another_is_clearly_better() -> None:
    one, other = Estimate().answered(0.100), Estimate().answered(0.085)
    assert order(one, other, leader=0) == [0, 1]
    assert order(one, other, leader=1) == [1, 0]
    assert order(one, Estimate().answered(0.05), leader=0) == [1, 0]


def test_the_priority_decides_between_equals_and_only_there() -> None:
    one, other = Estimate().answered(0.100), Estimate().answered(0.102)
    assert rank([Candidate(one, 1), Candidate(other, 0)], None, 0.0) == [1, 0]
    assert rank([Candidate(NEAR, 1), Candidate(FAR, 0)], None, 0.0) == [0, 1]


def test_who_fails_rests_longer_each_time_and_is_asked_again() -> None:
    once = NEAR.failed(0.0)
    assert [order(once, FAR, now=now)[0] for now in (0.0, 0.9, 1.0)] == [1, 1, 0]
    thrice = once.failed(1.0).failed(3.0)
    assert [order(thrice, FAR, now=now)[0] for now in (6.9, 7.0)] == [1, 0]
    assert order(thrice.answered(0.02), FAR, now=4.0) == [0, 1]


def test_who_lied_rests_until_it_has_been_right_or_long_enough() -> None:
    liar = NEAR.verified(10 * MB).lied(0.0)
    assert not liar.trusted
    assert order(liar.answered(0.02), FAR, now=599.0) == [1, 0]
    assert order(liar, FAR, now=600.0) == [0, 1]
    assert liar.verified(2 * MB).trusted
    assert order(liar.verified(2 * MB), FAR, now=1.0) == [0, 1]


def test_a_peer_that_seldom_has_it_is_asked_later() -> None:
    seldom = NEAR
    for _ in range(20):
        seldom = seldom.had(False)
    assert order(seldom, FAR) == [1, 0]
    assert order(NEAR.had(False), FAR) == [0, 1]


def test_what_is_unusual_is_known_after_some_answers() -> None:
    assert after(Estimate(), *[0.1] * 9).unusual is None
    assert after(Estimate(), *[0.1] * 19, 9.0).unusual == 0.1
    assert after(Estimate(), *[0.1] * 18, 9.0, 9.0).unusual == 9.0


ESTIMATES = st.lists(
    st.tuples(st.floats(0, 60), st.floats(1, 1e9), st.floats(0, 100), st.booleans(), st.integers(-3, 3)), min_size=1
)


@given(ESTIMATES, st.one_of(st.none(), st.integers(0, 9)), st.floats(0, 200))
def test_everybody_has_one_place(
    numbers: list[tuple[float, float, float, bool, int]], leader: int | None, now: float
) -> None:
    candidates = []
    for seconds, rate, when, fails, priority in numbers:
        estimate = Estimate().answered(seconds).delivered(int(rate), 1.0, when)
        candidates.append(Candidate(estimate.failed(when) if fails else estimate, priority))
    found = rank(candidates, leader, now)
    assert sorted(found) == list(range(len(candidates)))
    resting = [candidates[index].estimate.rests(now) for index in found]
    assert resting == sorted(resting)
