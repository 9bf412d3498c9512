"""One download for everybody: what upstream's own record says, and what every client gets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Pusher, digest_of
from tests.parts.processes import wait_until
from tests.parts.registry import DockerRegistry
from tests.parts.relay import Fault, RecordingRelay

REGISTRY = "registry.test"
REPOSITORY = "team/blobs"
SIZE = 6_000_000
CLIENTS = 50


@pytest.fixture
async def proxy(tmp_path: Path, relay: RecordingRelay) -> AsyncIterator[Edgeproxy]:
    async with Edgeproxy(tmp_path / "edge", {REGISTRY: relay.url}) as proxy:
        yield proxy


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
async def blob(registry: DockerRegistry, session: aiohttp.ClientSession) -> bytes:
    """A blob whose every place can be told from its bytes."""
    body = b"".join(number.to_bytes(4, "big") for number in range(SIZE // 4))
    await Pusher(session, registry.url, REPOSITORY).blob(body)
    return body


def url_of(proxy: Edgeproxy, blob: bytes) -> str:
    return f"{proxy.url}/v2/{REPOSITORY}/blobs/{digest_of(blob)}"


async def test_fifty_clients_cause_one_download(
    proxy: Edgeproxy, relay: RecordingRelay, session: aiohttp.ClientSession, blob: bytes
) -> None:
    """Upstream holds its second half back until every client has its first byte: nobody waits for the whole."""
    hold = asyncio.Event()
    relay.faults.append(Fault(path=digest_of(blob), method="GET", at=SIZE // 2, hold=hold))
    begun = 0

    async def pull() -> bytes:
        nonlocal begun
        async with session.get(url_of(proxy, blob)) as answer:
            assert answer.status == 200
            first = await answer.content.readexactly(1)
            begun += 1
            if begun == CLIENTS:
                hold.set()
            return first + await answer.read()

    async with asyncio.timeout(60):
        bodies = await asyncio.gather(*(pull() for _ in range(CLIENTS)))
    assert all(body == blob for body in bodies)
    assert len(relay.asked("GET", digest_of(blob))) == 1
    assert await proxy.metric("edgeproxy_requests_total", outcome="collapsed") == CLIENTS - 1
    assert await proxy.metric("edgeproxy_fetched_bytes_total") == SIZE


async def test_a_range_of_a_cold_blob_waits_for_its_bytes_only(
    proxy: Edgeproxy, relay: RecordingRelay, session: aiohttp.ClientSession, blob: bytes
) -> None:
    hold = asyncio.Event()
    relay.faults.append(Fault(path=digest_of(blob), method="GET", at=SIZE // 2, hold=hold))
    for field, expected in (("bytes=1000000-1999999", blob[1_000_000:2_000_000]), ("bytes=0-0", blob[:1])):
        async with session.get(url_of(proxy, blob), headers={"Range": field}) as answer:
            assert answer.status == 206
            assert answer.headers["Content-Range"] == f"bytes {field.removeprefix('bytes=')}/{SIZE}"
            assert await answer.read() == expected
    async with session.get(url_of(proxy, blob), headers={"Range": "bytes=-10"}) as answer:
        assert answer.status == 206
        hold.set()
        assert await answer.read() == blob[-10:]
    assert len(relay.asked("GET", digest_of(blob))) == 1


async def test_pieces_asked_for_at_once_are_one_download(
    proxy: Edgeproxy, relay: RecordingRelay, session: aiohttp.ClientSession, blob: bytes
) -> None:
    """As containerd 2.3 does: open-ended ranges of one cold blob, each connection reset when its piece is there."""
    piece = SIZE // 12

    async def take(start: int) -> bytes:
        async with session.get(url_of(proxy, blob), headers={"Range": f"bytes={start}-"}) as answer:
            assert answer.status == 206
            taken = await answer.content.readexactly(piece)
            answer.close()
            return taken

    async with asyncio.timeout(60):
        pieces = await asyncio.gather(*(take(start) for start in range(0, SIZE, piece)))
    assert b"".join(pieces) == blob
    (fetch,) = relay.asked("GET", digest_of(blob))
    assert fetch.range is None


async def test_a_leaving_client_stops_nothing(
    proxy: Edgeproxy, relay: RecordingRelay, session: aiohttp.ClientSession, blob: bytes
) -> None:
    hold = asyncio.Event()
    relay.faults.append(Fault(path=digest_of(blob), method="GET", at=SIZE // 2, hold=hold))
    async with session.get(url_of(proxy, blob)) as answer:
        await answer.content.readexactly(1)
        answer.close()
    async with session.get(f"{proxy.url}/v2/") as answer:
        assert answer.status == 200, "and so the proxy has seen the client leave, while upstream still sends"
    (fetch,) = relay.asked("GET", digest_of(blob))
    hold.set()
    await wait_until(lambda: fetch.ended, "the download goes on")
    assert fetch.sent == SIZE
    async with session.get(url_of(proxy, blob)) as answer:
        assert await answer.read() == blob
    assert len(relay.asked("GET", digest_of(blob))) == 1


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_broken_transfer_goes_on_unseen(
    how: str, proxy: Edgeproxy, relay: RecordingRelay, session: aiohttp.ClientSession, blob: bytes
) -> None:
    cut = Fault(path=digest_of(blob), method="GET", at=SIZE // 3, cut="fin" if how == "fin" else "rst", times=1)
    relay.faults.append(cut)
    async with session.get(url_of(proxy, blob)) as answer:
        assert await answer.read() == blob
    first, second = relay.asked("GET", digest_of(blob))
    assert second.range is not None
    reached = int(second.range.removeprefix("bytes=").removesuffix("-"))
    assert 0 < reached <= first.sent
    assert second.sent == SIZE - reached


async def test_a_wrong_digest_reaches_nobody_whole(
    proxy: Edgeproxy,
    registry: DockerRegistry,
    relay: RecordingRelay,
    session: aiohttp.ClientSession,
    blob: bytes,
) -> None:
    """Not the one who caused the download, nor those who joined it; and nothing of it is kept."""
    wrong = bytearray(blob)
    wrong[SIZE // 2] ^= 1
    registry.blob_file(digest_of(blob)).write_bytes(wrong)
    hold = asyncio.Event()
    relay.faults.append(Fault(path=digest_of(blob), method="GET", at=SIZE // 2, hold=hold))
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        answers = [await stack.enter_async_context(session.get(url_of(proxy, blob))) for _ in range(5)]
        hold.set()
        received = await asyncio.gather(*(until_broken_off(answer) for answer in answers))
    assert all(size < SIZE for size in received)
    assert await proxy.metric("edgeproxy_digest_mismatches_total") == 1
    assert proxy.bytes_on_disk() == 0
    registry.blob_file(digest_of(blob)).write_bytes(blob)
    async with session.get(url_of(proxy, blob)) as answer:
        assert await answer.read() == blob


async def until_broken_off(answer: aiohttp.ClientResponse) -> int:
    """How many bytes came; a body that ends as announced is a failure."""
    received = 0

    async def receive() -> None:
        nonlocal received
        async for chunk in answer.content.iter_any():
            received += len(chunk)

    with pytest.raises(aiohttp.ClientPayloadError):
        await receive()
    return received


async def test_an_unreachable_upstream_is_an_error_in_words(
    proxy: Edgeproxy, relay: RecordingRelay, session: aiohttp.ClientSession
) -> None:
    await relay.refuse()
    async with session.get(f"{proxy.url}/v2/{REPOSITORY}/manifests/latest") as answer:
        assert answer.status == 503
        error = json.loads(await answer.read())["errors"][0]
    assert error["code"] == "UNAVAILABLE"
    assert "cannot be reached" in error["message"]
