"""The way of hits in memory: what the kernel does not take, what is counted, and how long a connection lasts."""

import asyncio
import contextlib
import socket

import pytest

from edgeproxy.api.front import write_at_once
from edgeproxy.oci.digest import Digest
from tests.api.conftest import HERE, Proxy
from tests.api.wire import request, response

BODY = bytes(range(250)) * 4
TARGET = f"/v2/team/app/blobs/{Digest.of(BODY)}"


def filled(sending: socket.socket) -> bytes:
    """What the kernel takes before it takes no more."""
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sent += sending.send(b"-" * 1000)
    return b"-" * sent


def received(receiving: socket.socket) -> bytes:
    found = bytearray()
    with contextlib.suppress(BlockingIOError):
        while piece := receiving.recv(2**20):
            found += piece
    return bytes(found)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("head", "body"), [(300, 0), (300, 1000), (300, 5_000_000), (5_000_000, 300)])
def test_what_the_kernel_does_not_take_is_handed_back(head: int, body: int, full: bool) -> None:
    section, content = b"h" * head, b"b" * body
    sending, receiving = socket.socketpair()
    with sending, receiving:
        sending.setblocking(False)
        receiving.setblocking(False)
        before = filled(sending) if full else b""
        rest = write_at_once(sending.fileno(), section, content)
        assert received(receiving) + rest == before + section + content
        assert bool(rest) is (full or head + body > 1_000_000)


async def warm(proxy: Proxy) -> None:
    proxy.shelf.blob(HERE, BODY)
    assert (await proxy.ask(TARGET)).body == BODY
    await proxy.keeps(BODY)
    proxy.handled.clear()


async def test_a_connection_lasts_for_any_number_of_hits(proxy: Proxy) -> None:
    await warm(proxy)
    async with proxy.connected() as (reader, writer):
        for _ in range(500):
            writer.write(request(TARGET))
            assert (await response(reader)).body == BODY
        assert proxy.handled == []
        writer.write(request("/v2/") * 20)
        assert [(await response(reader)).status for _ in range(20)] == [200] * 20
        writer.write(request(TARGET))
        assert (await response(reader)).body == BODY
    assert len(proxy.handled) == 20


async def test_what_is_answered_here_is_counted_as_all_else(proxy: Proxy) -> None:
    await warm(proxy)
    key = ("a.test", "blobs", "hit")
    for ask in (proxy.ask, proxy.ask_front):
        requests, sent = proxy.traffic.requests[key], proxy.traffic.sent[key]
        await ask(TARGET)
        await ask(TARGET, "Range: bytes=0-9")
        await ask(TARGET, method="HEAD")
        await ask(TARGET, f'If-None-Match: "{Digest.of(BODY)}"')
        assert proxy.traffic.requests[key] == requests + 4
        assert proxy.traffic.sent[key] == sent + len(BODY) + 10


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (["Connection: close"], b""),
        (["Content-Length: 1"], b"x"),
        (["Transfer-Encoding: chunked"], b"0\r\n\r\n"),
        (["Upgrade: websocket", "Connection: Upgrade"], b""),
    ],
)
async def test_what_is_more_than_a_question_is_handed_on(proxy: Proxy, fields: list[str], body: bytes) -> None:
    await warm(proxy)
    async with proxy.connected() as (reader, writer):
        writer.write(request(TARGET, *fields, body=body))
        assert (await response(reader)).body == BODY
    assert proxy.handled == [TARGET]


async def test_what_is_not_in_memory_is_handed_on(proxy: Proxy) -> None:
    await warm(proxy)
    proxy.daemon.store.memory.drop(Digest.of(BODY))
    targets = ["/v2/", "/v2/nowhere", TARGET, TARGET]
    async with proxy.connected() as (reader, writer):
        for target in targets:
            writer.write(request(target))
            await response(reader)
    assert proxy.handled == targets[:3], "the first answer from disk takes it into memory"


async def test_a_refusal_is_handed_on(proxy: Proxy) -> None:
    await warm(proxy)
    sent = [request(TARGET, "Range: bytes=9999-"), request(TARGET, method="PUT"), request("/v2/A/manifests/1")]
    async with proxy.connected() as (reader, writer):
        answers = []
        for text in sent:
            writer.write(text)
            answers.append(await response(reader))
    assert [answer.status for answer in answers] == [416, 405, 400]
    assert len(proxy.handled) == 3
    assert sum(proxy.traffic.errors.values()) == 3, "a refusal is counted once"


async def test_a_hit_waits_for_what_was_written_before_it(proxy: Proxy) -> None:
    """The client has not taken the large answer yet: what follows must not overtake it."""
    await warm(proxy)
    large = bytes(3_000_000)
    pinned = proxy.shelf.blob(HERE, large)
    await proxy.ask(f"/v2/team/app/blobs/{pinned.digest}")
    await proxy.keeps(large)
    async with proxy.connected() as (reader, writer):
        writer.write(request(f"/v2/team/app/blobs/{pinned.digest}"))
        for _ in range(3):
            assert (await proxy.ask("/v2/")).status == 200
            writer.write(request(TARGET))
        assert (await response(reader)).body == large
        for _ in range(3):
            assert (await response(reader)).body == BODY
        assert await asyncio.wait_for(_nothing_more(reader, writer), 10)


async def _nothing_more(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write_eof()
    return await reader.read() == b""
