"""A link without faults: every byte in its place, late and slow as told, and no more under way than the line holds."""

import asyncio
import time

import pytest

from loadtests.link.process import WideAreaLink
from loadtests.link.terms import Terms
from tests.loadtests.conftest import Calls, Laid
from tests.loadtests.origin import Origin, answer_of, body_of
from tests.parts.processes import free_port, wait_until

_BIG = 8_000_000


@pytest.mark.parametrize(
    "terms",
    [
        Terms(),
        Terms(delay=0.02),
        Terms(rate=40e6),
        Terms(delay=0.01, rate=30e6, total=50e6),
    ],
)
async def test_bytes_pass_unchanged_both_ways(lay: Laid, call: Calls, terms: Terms) -> None:
    link = await lay(terms)
    callers = [await call(link) for _ in range(3)]
    for caller in callers:
        caller.ask(_BIG, "POST", body_of(_BIG))
    for answer in await asyncio.gather(*(caller.take(_BIG) for caller in callers)):
        assert answer == answer_of(_BIG)
    counts = await link.counts()
    assert (counts.connections, counts.requests) == (3, 3)
    assert counts.carried == 3 * len(answer_of(_BIG))


async def test_one_connection_after_another_request(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(delay=0.005))
    caller = await call(link)
    for size in (1, 70_000, 3):
        caller.ask(size)
        assert await caller.take(size) == answer_of(size)
    caller.ask(70_000, "HEAD")
    assert (await caller.reader.readuntil(b"\r\n\r\n")) + body_of(70_000) == answer_of(70_000)
    assert (await link.counts()).requests == 4


async def test_an_end_passes_behind_the_bytes(lay: Laid, call: Calls, origin: Origin) -> None:
    link = await lay(Terms(delay=0.02, rate=20e6))
    caller = await call(link)
    caller.ask(_BIG)
    caller.writer.write_eof()
    assert await caller.rest() == (answer_of(_BIG), "fin")


async def test_a_connection_and_a_request_cost_a_round_trip_each(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(delay=0.05))
    began = time.monotonic()
    caller = await call(link)
    for trips in (2, 3):
        caller.ask(10)
        await caller.take(10)
        assert time.monotonic() - began >= trips * 0.1


async def test_a_delay_does_not_stop_what_follows(lay: Laid, call: Calls, origin: Origin) -> None:
    """As much is under way as the rate brings within the delay, before the first byte has arrived."""
    link = await lay(Terms(delay=0.5, rate=60e6))
    caller = await call(link)
    caller.ask(4 * _BIG)
    await caller.reader.readexactly(1)
    assert origin.sent > 0.5 * 0.5 * 60e6


@pytest.mark.parametrize("terms", [Terms(rate=10e6), Terms(total=20e6)])
async def test_no_faster_than_its_rate(lay: Laid, call: Calls, terms: Terms) -> None:
    link = await lay(terms)
    callers = [await call(link) for _ in range(2)]
    began = time.monotonic()
    for caller in callers:
        caller.ask(_BIG)
    await asyncio.gather(*(caller.take(_BIG) for caller in callers))
    assert time.monotonic() - began >= 0.9 * 2 * _BIG / 20e6


async def test_the_way_up_has_a_rate_of_its_own(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(delay=0.01, up=10e6))
    callers = [await call(link) for _ in range(2)]
    began = time.monotonic()
    for caller in callers:
        caller.ask(_BIG, "POST", body_of(_BIG))
    for answer in await asyncio.gather(*(caller.take(_BIG) for caller in callers)):
        assert answer == answer_of(_BIG)
    assert time.monotonic() - began >= 0.9 * _BIG / 10e6
    heard = (await link.counts()).heard
    assert 2 * _BIG < heard < 2 * _BIG + 1000


async def test_who_does_not_read_holds_the_server_back(lay: Laid, call: Calls, origin: Origin) -> None:
    link = await lay(Terms(delay=0.01, rate=100e6))
    caller = await call(link)
    size = 10 * _BIG
    caller.ask(size)
    before = -1

    async def at_rest() -> bool:
        nonlocal before
        await asyncio.sleep(0.2)
        before, moved = origin.sent, origin.sent != before
        return not moved and origin.sent > 0

    await wait_until(at_rest, "the server is held back")
    assert origin.sent < size / 2
    assert await caller.take(size) == answer_of(size)


async def test_terms_change_while_it_runs(lay: Laid, call: Calls) -> None:
    link = await lay(Terms())
    caller = await call(link)
    caller.ask(10)
    await caller.take(10)
    await link.change(delay=0.2)
    began = time.monotonic()
    caller.ask(10)
    await caller.take(10)
    assert time.monotonic() - began >= 0.4
    await link.change(delay=0.0, rate=5e6)
    began = time.monotonic()
    caller.ask(2_000_000)
    assert await caller.take(2_000_000) == answer_of(2_000_000)
    assert time.monotonic() - began >= 0.9 * 2 / 5


async def test_a_line_to_nowhere_is_a_reset(lay: Laid, call: Calls, origin: Origin) -> None:
    origin.url = f"http://127.0.0.1:{free_port()}"
    link: WideAreaLink = await lay(Terms())
    try:
        caller = await call(link)
        caller.ask(10)
        ended = await caller.rest()
    except ConnectionResetError:  # it came before the caller had seen that it is connected
        ended = b"", "rst"
    assert ended == (b"", "rst")
    assert (await link.counts()).carried == 0
