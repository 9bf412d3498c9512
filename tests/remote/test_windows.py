"""What a link may carry at which time of the local day."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.remote.windows import Terms, Window, second_of_day, split_window

DAY = 24 * 3600
SECONDS = st.integers(0, DAY - 1)
MINUTES = st.integers(0, DAY // 60 - 1).map(lambda minute: minute * 60)
WINDOWS = st.builds(Window, MINUTES, MINUTES, st.none() | st.integers(1, 10**9))


@given(WINDOWS, SECONDS)
def test_a_window_covers_what_the_clock_passes_from_its_start_to_its_stop(window: Window, second: int) -> None:
    length = (window.stop - window.start) % DAY or DAY
    assert window.covers(second) == ((second - window.start) % DAY < length)


@pytest.mark.parametrize(("second", "rate"), [(22 * 3600, None), (0, None), (5 * 3600 - 1, None), (5 * 3600, 9)])
def test_a_window_may_cross_midnight(second: int, rate: int | None) -> None:
    assert Terms(9, None, (Window(22 * 3600, 5 * 3600, None),)).in_force(second) == rate


@given(st.lists(WINDOWS, max_size=5), SECONDS)
def test_the_first_window_that_covers_decides(windows: list[Window], second: int) -> None:
    covering = [window.rate for window in windows if window.covers(second)]
    assert Terms(7, None, tuple(windows)).in_force(second) == (covering[0] if covering else 7)


@given(WINDOWS)
def test_a_window_is_read_back_as_it_is_written(window: Window) -> None:
    start, stop, rate = split_window(str(window))
    assert (start, stop) == (window.start, window.stop)
    assert rate == ("unlimited" if window.rate is None else f"{window.rate}B")


def test_the_day_ends_at_24() -> None:
    assert split_window("08:00 - 24:00  5MB") == (8 * 3600, 0, "5MB")


@pytest.mark.parametrize(
    "text", ["", "08:00-18:00", "8-18 5MB", "25:00-01:00 5MB", "24:01-01:00 5MB", "01:60-02:00 5MB"]
)
def test_what_is_no_window_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match='write local times and a rate per second, as in "08:00-18:00 5MB"'):
        split_window(text)


@given(st.integers(0, 2**31))
def test_the_local_time_is_within_the_day(now: int) -> None:
    assert second_of_day(now) % 60 == now % 60
    assert second_of_day(now) in range(DAY)


def test_terms_bind_if_they_do_at_any_time() -> None:
    assert not Terms().bind
    assert not Terms(windows=(Window(0, 0, None),)).bind
    assert Terms(1).bind
    assert Terms(windows=(Window(0, 60, 1),)).bind
