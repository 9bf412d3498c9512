"""Each fault of a link strikes at its byte or its request, and nothing else changes."""

import asyncio
from typing import Literal

import pytest

from loadtests.link.terms import LIED_ABOUT, Terms
from tests.loadtests.conftest import Calls, Laid
from tests.loadtests.origin import Caller, Origin, answer_of

_SIZE = 3_000_000
_CUT = 1_234_567
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("terms", [Terms(), Terms(delay=0.01, rate=40e6)])
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_each_connection_is_cut_at_its_byte(
    lay: Laid, call: Calls, how: Literal["fin", "rst"], terms: Terms
) -> None:
    link = await lay(Terms(terms.delay, terms.rate, fault=how, every=_CUT))
    callers = [await call(link) for _ in range(2)]
    for caller in callers:
        caller.ask(_SIZE)
    for caller in callers:
        assert await caller.rest() == (answer_of(_SIZE)[:_CUT], how)
    counts = await link.counts()
    assert (counts.carried, counts.faults) == (2 * _CUT, 2)


async def test_the_connection_that_carries_the_last_byte_of_the_link_is_cut(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(fault="fin", every=2 * _CUT, counting="link"))
    whole, cut = await call(link), await call(link)
    whole.ask(2_000_000)
    assert await whole.take(2_000_000) == answer_of(2_000_000)
    cut.ask(_SIZE)
    assert await cut.rest() == (answer_of(_SIZE)[: 2 * _CUT - len(answer_of(2_000_000))], "fin")
    whole.ask(10)
    assert await whole.take(10) == answer_of(10)


async def test_so_many_faults_and_no_more(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(fault="rst", every=_CUT, times=1))
    first, second = await call(link), await call(link)
    first.ask(_SIZE)
    assert await first.rest() == (answer_of(_SIZE)[:_CUT], "rst")
    second.ask(_SIZE)
    assert await second.take(_SIZE) == answer_of(_SIZE)


async def test_a_stall_stops_one_connection_and_leaves_it_open(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(fault="stall", every=_CUT, times=1))
    stalled, other = await call(link), await call(link)
    stalled.ask(_SIZE)
    assert await stalled.reader.readexactly(_CUT) == answer_of(_SIZE)[:_CUT]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stalled.reader.read(1), 0.3)
    assert not stalled.reader.at_eof()
    other.ask(_SIZE)
    assert await other.take(_SIZE) == answer_of(_SIZE)
    counts = await link.counts()
    assert (counts.carried, counts.faults) == (_CUT + len(answer_of(_SIZE)), 1)


async def test_a_reset_behind_the_header(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(delay=0.005, resets=2))
    head = answer_of(_SIZE)[:-_SIZE]
    for expected in ((head, "rst"), (answer_of(_SIZE), "fin"), (head, "rst")):
        caller = await call(link)
        caller.ask(_SIZE)
        caller.writer.write_eof()
        assert await caller.rest() == expected
    assert (await link.counts()).resets == 2


async def test_a_request_that_the_link_answers_itself(lay: Laid, call: Calls, origin: Origin) -> None:
    link = await lay(Terms(delay=0.005, unavailable=3))
    caller = await call(link)
    for number in range(7):
        caller.ask(1000)
        if number % 3:
            assert await caller.take(1000) == answer_of(1000)
        else:
            assert await caller.reader.readexactly(len(_UNAVAILABLE)) == _UNAVAILABLE
    assert len(origin.asked) == 4
    counts = await link.counts()
    assert (counts.requests, counts.unavailable) == (7, 3)


async def test_only_requests_it_is_about(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(unavailable=1, resets=1, about="/manifests/"))
    caller = await call(link)
    caller.ask(1000)
    assert await caller.take(1000) == answer_of(1000)


async def test_a_lie_is_one_bit_of_a_large_body(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(lie=700_001))
    caller = await call(link)
    assert await _lied_about(caller, LIED_ABOUT) == []
    for size in (LIED_ABOUT + 1, _SIZE):
        assert await _lied_about(caller, size) == [len(answer_of(size)) - size + 700_001]
    assert (await link.counts()).lies == 2


async def _lied_about(caller: Caller, size: int) -> list[int]:
    caller.ask(size)
    right, told = answer_of(size), await caller.take(size)
    return [position for position, byte in enumerate(told) if byte != right[position]]


async def test_all_are_cut_once_on_the_way_up(lay: Laid, call: Calls) -> None:
    link = await lay(Terms(delay=0.01, up=20e6))
    idle, busy = await call(link), await call(link)
    for caller in (idle, busy):
        caller.ask(10)
        await caller.take(10)
    before = await link.change(cut=_CUT)
    busy.ask(_SIZE, "POST", bytes(_SIZE))
    assert await busy.rest() == (b"", "rst")
    assert await idle.rest() == (b"", "rst")
    counts = await link.counts()
    assert counts.cut == 1
    assert _CUT <= counts.heard - before.heard < _SIZE
    later = await call(link)
    later.ask(_SIZE, "POST", bytes(_SIZE))
    assert (await later.take(_SIZE))[-_SIZE:] == bytes(_SIZE)
