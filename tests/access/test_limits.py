"""Connections and requests by address; every moment is an argument."""

from collections import Counter
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.access import limits
from edgeproxy.access.limits import Clients
from edgeproxy.oci.errors import TooManyRequests, Unavailable

ALICE, BOB = "192.0.2.1", "192.0.2.2"


def clients(connections: int = 10, each: int = 3, requests: int = 5, exempt: tuple[str, ...] = ()) -> Clients:
    return Clients(connections, each, requests, [ip_network(text) for text in exempt], now=0.0)


def test_one_address_leaves_connections_to_others() -> None:
    ours = clients()
    for _ in range(3):
        ours.enter(ALICE)
    with pytest.raises(TooManyRequests) as caught:
        ours.enter(ALICE)
    assert caught.value.retry_after
    ours.enter(BOB)
    ours.leave(ALICE)
    ours.enter(ALICE)


def test_all_together_have_a_bound_whoever_is_exempt() -> None:
    ours = clients(connections=4, exempt=("127.0.0.0/8",))
    for _ in range(4):
        assert ours.enter("127.0.0.1") is None
    for address in ("127.0.0.1", ALICE):
        with pytest.raises(Unavailable) as caught:
            ours.enter(address)
        assert caught.value.retry_after
    ours.leave("127.0.0.1")
    assert ours.enter(ALICE) is not None
    assert len(ours) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", ALICE, True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        (ALICE, BOB, False),
        ("192.0.2.1", "0:0:0:c000:201::", False),
    ],
)
def test_who_counts_as_one(one: str, other: str, same: bool) -> None:
    ours = clients()
    assert (ours.enter(one) is ours.enter(other)) is same


@pytest.mark.parametrize("address", ["127.8.9.1", "::1", "::ffff:127.0.0.1", "10.0.0.1"])
def test_who_is_exempt(address: str) -> None:
    assert clients(exempt=("127.0.0.0/8", "::1/128", "10.0.0.0/31")).enter(address) is None


def test_requests_come_back_with_time() -> None:
    ours = clients(requests=5)
    alice, bob = ours.enter(ALICE), ours.enter(BOB)
    assert alice is not None
    assert bob is not None
    assert alice.spend(10)
    alice.check()
    assert not alice.spend(1)
    with pytest.raises(TooManyRequests) as caught:
        alice.check()
    assert caught.value.retry_after
    assert bob.spend(1)
    ours.refill(1.0)
    alice.check()
    assert alice.spend(5)
    assert not alice.spend(1)


def test_what_was_refused_is_not_owed() -> None:
    ours = clients(requests=5)
    alice = ours.enter(ALICE)
    assert alice is not None
    assert not alice.spend(1000)
    ours.refill(1.0)
    assert alice.spend(5)


def test_a_clock_that_is_set_back_takes_nothing() -> None:
    ours = clients(requests=5)
    alice = ours.enter(ALICE)
    ours.refill(-100.0)
    assert alice is not None
    assert alice.spend(10)


def test_leaving_does_not_bring_requests_back() -> None:
    ours = clients(requests=5)
    alice = ours.enter(ALICE)
    assert alice is not None
    alice.spend(10)
    ours.leave(ALICE)
    again = ours.enter(ALICE)
    assert again is not None
    assert not again.spend(1)


def test_who_is_gone_leaves_nothing() -> None:
    ours = clients(requests=5)
    for address, spent in ((ALICE, 0), (BOB, 10)):
        client = ours.enter(address)
        assert client is not None
        client.spend(spent)
        ours.leave(address)
    assert len(ours) == 1
    ours.refill(1.0)
    assert len(ours) == 1
    ours.refill(2.0)
    assert len(ours) == 0


def test_of_those_who_are_gone_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_REMEMBERED", 20)
    ours = clients(connections=10)
    for number in range(100):
        address = str(ip_address(number))
        client = ours.enter(address)
        assert client is not None
        client.spend(1)
        ours.leave(address)
    assert len(ours) == 30


ADDRESSES = st.sampled_from([ALICE, BOB, "2001:db8::1", "2001:db8::2", "127.0.0.1"])
STEPS = st.lists(st.tuples(st.sampled_from(["enter", "leave", "spend", "refill"]), ADDRESSES, st.integers(0, 20)))


@given(STEPS)
def test_whatever_happens_the_bounds_hold(steps: list[tuple[str, str, int]]) -> None:
    ours, here, now = clients(connections=6, each=3, exempt=("127.0.0.0/8",)), Counter[str](), 0.0
    granted = Counter[str]()
    for step, address, number in steps:
        if step == "enter":
            try:
                client = ours.enter(address)
            except (TooManyRequests, Unavailable):
                continue
            here[address] += 1
            if client is not None and client.spend(number):
                granted[address] += number
        elif step == "leave" and here[address]:
            here[address] -= 1
            ours.leave(address)
        elif step == "refill":
            now += number / 4
            ours.refill(now)
        assert here.total() <= 6
        assert here[ALICE] <= 3
        assert here["2001:db8::1"] + here["2001:db8::2"] <= 3
        assert granted[ALICE] <= 10 + 5 * now
    for address in here.elements():
        ours.leave(address)
    ours.refill(now + 2)
    assert len(ours) == 0
