"""Several addresses of one target: the preferred one that works, and who finds out that it works again."""

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.remote.paths import FIRST_REST, LONGEST_REST, TRYING, Paths

NOW = 1000.0
STEPS = st.lists(
    st.tuples(st.sampled_from(["order", "failed", "succeeded"]), st.integers(0, 2), st.floats(0, 100)), max_size=60
)


def test_the_preferred_one_comes_first_until_it_fails() -> None:
    paths = Paths(3)
    assert paths.order(NOW) == [0, 1, 2]
    paths.failed(0, NOW)
    assert paths.order(NOW) == [1, 2, 0]


def test_the_one_that_rests_least_is_tried_where_all_rest() -> None:
    paths = Paths(2)
    paths.failed(1, NOW)
    paths.failed(0, NOW + 0.5)
    assert paths.order(NOW + 0.6) == [1, 0]


def test_a_better_one_is_tried_again_after_its_rest_by_one_who_asks() -> None:
    paths = Paths(2)
    paths.failed(0, NOW)
    back = NOW + FIRST_REST
    assert paths.order(back) == [0, 1]
    assert paths.order(back) == [1, 0]  # who comes meanwhile goes where it works
    assert paths.order(back + TRYING) == [0, 1]  # nobody has said what became of it
    assert paths.succeeded(0)
    assert paths.order(back + TRYING) == paths.order(back + TRYING) == [0, 1]
    assert not paths.succeeded(0)


def test_each_failure_in_a_row_makes_the_rest_longer_up_to_a_bound() -> None:
    paths, now, rests = Paths(2), NOW, []
    for _ in range(9):
        paths.failed(0, now)
        began = now
        while paths.order(now)[0] != 0:
            now += 0.25
        rests.append(now - began)
    assert rests == [1, 2, 4, 8, 16, 32, LONGEST_REST, LONGEST_REST, LONGEST_REST]


def test_what_fails_together_counts_once() -> None:
    paths = Paths(2)
    for _ in range(16):
        paths.failed(0, NOW)
    assert paths.order(NOW + FIRST_REST)[0] == 0


def test_what_went_well_ends_the_row() -> None:
    paths = Paths(2)
    for now in (NOW, NOW + 10, NOW + 30):
        paths.failed(0, now)
    paths.succeeded(0)
    paths.failed(0, NOW + 40)
    assert paths.order(NOW + 40 + FIRST_REST)[0] == 0


@given(STEPS)
def test_whatever_happened_every_address_is_tried_once_and_none_rests_for_ever(
    steps: list[tuple[str, int, float]],
) -> None:
    paths, now = Paths(3), NOW
    for what, number, later in steps:
        now += later
        if what == "order":
            assert sorted(paths.order(now)) == [0, 1, 2]
        elif what == "failed":
            paths.failed(number, now)
        else:
            paths.succeeded(number)
            assert number not in paths.order(now)[number + 1 :]
    assert paths.order(now + LONGEST_REST + TRYING)[0] == 0
