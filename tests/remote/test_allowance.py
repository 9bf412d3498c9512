"""What an upstream grants, by what it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.interfaces import Urgency
from edgeproxy.remote.allowance import Allowance

NOW = 1_700_000_000.0
BACKGROUND = (Urgency.REPLICATION, Urgency.PREFETCH)


def told(*answers: tuple[int, dict[str, str]]) -> Allowance:
    allowance = Allowance()
    for status, headers in answers:
        allowance.answered(status, headers, NOW)
    return allowance


def hub(remaining: int, limit: int = 100) -> dict[str, str]:
    return {"ratelimit-limit": f"{limit};w=21600", "ratelimit-remaining": f"{remaining};w=21600"}


@pytest.mark.parametrize(
    ("headers", "limit", "remaining", "seconds"),
    [
        (hub(76), 100, 76, 21600),
        ({"RateLimit-Limit": "10", "RateLimit-Remaining": "3", "RateLimit-Reset": "50"}, 10, 3, 50),
        ({"RateLimit-Limit": "10", "RateLimit-Remaining": "3", "RateLimit-Reset": str(int(NOW) + 40)}, 10, 3, 40),
        ({"RateLimit-Policy": '"a";q=100;w=60', "RateLimit": '"a";r=50;t=30'}, 100, 50, 30),
        ({"RateLimit-Policy": '"a";q=100;w=60,"b";q=9;w=5', "RateLimit": '"a";r=50;t=30, "b";r=4'}, 9, 4, 5),
        ({"RateLimit-Remaining": "3"}, None, 3, 3600),
        ({"RateLimit": "limit=5, remaining=1", "RateLimit-Remaining": "3"}, None, 3, 3600),
    ],
)
def test_what_is_said_holds_until_there_is_more(
    headers: dict[str, str], limit: int | None, remaining: int, seconds: float
) -> None:
    allowance = told((200, headers))
    for now in (NOW, NOW + seconds - 1):
        assert (allowance.limit(now), allowance.remaining(now)) == (limit, remaining)
    assert (allowance.limit(NOW + seconds), allowance.remaining(NOW + seconds)) == (None, None)


def test_a_reserve_is_left_to_clients() -> None:
    for remaining in range(101):
        allowance = told((200, hub(remaining)))
        assert allowance.may_ask(Urgency.CLIENT, NOW)
        for urgency in BACKGROUND:
            assert allowance.may_ask(urgency, NOW) == (remaining > 20)
            assert allowance.may_ask(urgency, NOW + 21600)


def test_who_is_told_nothing_may_ask() -> None:
    assert all(told((200, {})).may_ask(urgency, NOW) for urgency in Urgency)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("text", ["30", " 30 ", "Tue, 14 Nov 2023 22:13:50 GMT"])
def test_nobody_asks_before_the_time_that_was_told(status: int, text: str) -> None:
    allowance = told((status, {"Retry-After": text}), (200, {}))
    for urgency in Urgency:
        assert not allowance.may_ask(urgency, NOW + 29)
        assert allowance.may_ask(urgency, NOW + 30)
    assert allowance.retry_after(NOW + 10) == 20
    assert allowance.retry_after(NOW + 30) is None


def test_a_shorter_wait_does_not_end_a_longer_one() -> None:
    allowance = told((429, {"Retry-After": "30"}), (429, {"Retry-After": "1"}))
    assert allowance.retry_after(NOW) == 30


def test_refused_without_a_time_rests_longer_each_time_up_to_a_bound() -> None:
    rests = [told(*[(429, dict[str, str]())] * count).retry_after(NOW) for count in (1, 2, 3, 4, 40)]
    assert rests == [1, 2, 4, 8, 300]


def test_trouble_without_a_time_is_no_limit() -> None:
    assert told((503, {})).retry_after(NOW) is None
    assert told((200, {"Retry-After": "30"})).retry_after(NOW) is None


def test_nobody_is_made_to_wait_for_ever() -> None:
    assert told((429, {"Retry-After": "999999999"})).retry_after(NOW) == 86400


FIELDS = st.sampled_from(
    ["ratelimit-limit", "RateLimit-Remaining", "ratelimit-reset", "RateLimit", "RateLimit-Policy", "Retry-After"]
)
TEXTS = (
    st.text(max_size=10)
    | st.text('"a;rtqw=05., -', max_size=20)
    | st.builds(
        "Tue, {} Nov {} 22:13:20 {}".format, st.integers(), st.integers(), st.sampled_from(["GMT", "", "-9999"])
    )
)


@given(st.integers(100, 599), st.dictionaries(FIELDS, TEXTS, max_size=4))
def test_whatever_is_said_is_understood_or_ignored(status: int, headers: dict[str, str]) -> None:
    allowance = told((status, headers))
    assert allowance.may_ask(Urgency.CLIENT, NOW + 86400)
    assert 0 <= (allowance.retry_after(NOW) or 0.0) <= 86400
    assert (allowance.remaining(NOW) or 0) >= 0
