"""Schedules: due when their five fields say so, whatever the clocks of the zone do."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.sites.schedule import CronInvalid, Schedule

MINUTE, DAY = 60, 86_400
BERLIN = ZoneInfo("Europe/Berlin")
"""In 2026 an hour forward on 29 March at 1:00 UTC, and back on 25 October at 1:00 UTC."""
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-8))])
TIMES = st.integers(1_000_000_000, 2_500_000_000)
MINUTES = st.one_of(st.just("*"), st.integers(0, 59).map(str), st.sampled_from(["*/15", "0-10", "5,35"]))
HOURS = st.one_of(st.just("*"), st.integers(0, 23).map(str), st.sampled_from(["*/6", "1-3"]))
WEEKDAYS = st.sampled_from(["*", "0", "7", "1-5", "SAT"])
SIMPLE = st.tuples(MINUTES, HOURS, st.just("*"), st.just("*"), WEEKDAYS)


@contextmanager
def local(zone: str) -> Iterator[None]:
    """The site's own zone is the process's."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
        time.tzset()


def at(text: str, zone: tzinfo = UTC) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def naive(words: tuple[str, ...], after: float, zone: tzinfo) -> float:
    """Minute by minute."""
    moment = (after // MINUTE + 1) * MINUTE
    while not _fits(words, datetime.fromtimestamp(moment, zone)):
        moment += MINUTE
    return moment


def _fits(words: tuple[str, ...], moment: datetime) -> bool:
    return (
        _field(words[0], moment.minute)
        and _field(words[1], moment.hour)
        and (
            _field(words[4].replace("SAT", "6"), moment.isoweekday() % 7) or (words[4], moment.isoweekday()) == ("7", 7)
        )
    )


def _field(word: str, value: int) -> bool:
    if word.startswith("*"):
        return value % int(word[2:] or 1) == 0
    if "-" in word:
        first, last = word.split("-")
        return int(first) <= value <= int(last)
    return str(value) in word.split(",")


@given(SIMPLE, TIMES, st.floats(0, 59.999), ZONES)
def test_it_is_due_when_a_look_at_every_minute_says_so(
    words: tuple[str, ...], start: int, fraction: float, zone: tzinfo
) -> None:
    after = start + fraction
    assert Schedule.parse(" ".join(words)).following(after, zone) == naive(words, after, zone)


@given(SIMPLE, st.integers(0, 2 * DAY), st.integers(0, DAY), st.sampled_from(["2026-03-28", "2026-10-24"]))
def test_time_goes_forward_while_clocks_are_changed(words: tuple[str, ...], start: int, more: int, day: str) -> None:
    schedule, zone = Schedule.parse(" ".join(words)), BERLIN
    first = at(day) + start
    assert first < schedule.following(first, zone) <= schedule.following(first + more, zone)


def test_what_clocks_leave_out_is_due_when_they_go_on_and_what_they_show_twice_once() -> None:
    zone = BERLIN
    assert Schedule.parse("30 2 * * *").following(at("2026-03-29 00:00", zone), zone) == at("2026-03-29 01:00")
    twice = Schedule.parse("30 2 * * *")
    first = twice.following(at("2026-10-25 00:00", zone), zone)
    assert first == at("2026-10-25 00:30")
    assert twice.following(first, zone) == at("2026-10-26 01:30")
    assert twice.following(at("2026-10-25 01:10"), zone) == at("2026-10-26 01:30")


@given(SIMPLE, st.integers(0, 2 * DAY), st.sampled_from(["2026-03-28", "2026-10-24", "2026-07-01"]))
def test_without_a_zone_the_clocks_are_those_of_the_site(words: tuple[str, ...], start: int, day: str) -> None:
    schedule = Schedule.parse(" ".join(words))
    with local("Europe/Berlin"):
        first = at(day) + start
        assert first < schedule.following(first)
        if day == "2026-07-01":
            assert schedule.following(first) == schedule.following(first, BERLIN)


def test_after_a_change_of_clocks_the_hour_is_the_new_one() -> None:
    with local("Europe/Berlin"):
        assert Schedule.parse("0 4 * * *").following(at("2026-03-28 12:00")) == at("2026-03-29 02:00")


def test_days_are_those_of_the_zone() -> None:
    assert Schedule.parse("0 0 L * *").following(at("2026-02-01"), UTC) == at("2026-02-28")
    west = timezone(timedelta(hours=-8))
    assert Schedule.parse("0 0 1 JAN *").following(at("2026-02-01"), west) == at("2027-01-01 08:00")


def test_what_was_missed_is_due_once() -> None:
    hourly = Schedule.parse("0 * * * *")
    last, now = at("2026-01-01 00:00"), at("2026-01-01 09:30")
    assert hourly.due(last, now, UTC)
    assert not hourly.due(now, now, UTC)
    assert hourly.following(now, UTC) == at("2026-01-01 10:00")
    assert hourly.due(now, at("2026-01-01 10:00"), UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 0 fields: write five, minute hour day-of-month month day-of-week"),
        ("* * * *", "has 4 fields: write five"),
        ("0 0 2 * * *", "has 6 fields: write five"),
        ("60 * * * *", "'60' is no minute: write 0-59"),
        ("* 24 * * *", "'24' is no hour: write 0-23"),
        ("* * 0 * *", "'0' is no day-of-month: write 1-31"),
        ("* * * FEBRUARY *", "'FEBRUARY' is no month: write 1-12 or JAN-DEC"),
        ("* * * * 8", "'8' is no day-of-week: write 0-7"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("0 0 31 2 *", "write a day that they have"),
        ("0 0 30 FEB *", "write a day that they have"),
    ],
)
def test_what_is_no_schedule(text: str, words: str) -> None:
    with pytest.raises(CronInvalid) as caught:
        Schedule.parse(text)
    assert words in str(caught.value)


@given(st.lists(st.text("0159*/,-#LWMONJAN", min_size=1, max_size=4), min_size=4, max_size=6).map(" ".join))
def test_whatever_is_written_is_a_schedule_or_refused(text: str) -> None:
    try:
        schedule = Schedule.parse(text)
    except CronInvalid:
        return
    assert 0 < schedule.following(0, UTC) < inf
    assert str(schedule) == text
