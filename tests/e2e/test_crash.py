"""kill -9 in the middle of a download: it goes on where it was, and nothing is left behind."""

import asyncio
from pathlib import Path

import aiohttp

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Pusher, digest_of
from tests.parts.processes import wait_until
from tests.parts.registry import DockerRegistry
from tests.parts.relay import Fault, RecordingRelay

SIZE = 8_000_000


async def test_a_killed_download_is_resumed(tmp_path: Path, registry: DockerRegistry, relay: RecordingRelay) -> None:
    body = b"".join(number.to_bytes(4, "big") for number in range(SIZE // 4))
    proxy = Edgeproxy(tmp_path / "edge", {"registry.test": relay.url})
    url = f"{proxy.url}/v2/team/crash/blobs/{digest_of(body)}"
    hold = asyncio.Event()
    async with aiohttp.ClientSession() as session:
        await Pusher(session, registry.url, "team/crash").blob(body)
        relay.faults.append(Fault(path=digest_of(body), method="GET", at=SIZE // 2, hold=hold, times=1))
        await proxy.start()
        async with session.get(url) as answer:
            await answer.content.readexactly(SIZE // 4)
            await wait_until(lambda: _size(proxy) == SIZE // 2, "the first half is on disk")
            await proxy.kill()
        hold.set()
        assert _size(proxy) == SIZE // 2

        await proxy.start()
        async with session.get(url) as answer:
            assert await answer.read() == body
        await wait_until(lambda: not proxy.partials(), "the blob has taken its place")
        await proxy.stop()
    _, second = relay.asked("GET", digest_of(body))
    assert second.range == f"bytes={SIZE // 2}-"
    assert second.sent == SIZE - SIZE // 2
    assert [file.name for file in (proxy.data / "blobs").rglob("*") if file.is_file()] == [digest_of(body)[7:]]


async def test_a_download_killed_at_its_very_end_needs_nothing_more(
    tmp_path: Path, registry: DockerRegistry, relay: RecordingRelay
) -> None:
    """All bytes were there, and the blob was not yet kept: upstream is not asked for any of them again."""
    body = bytes(range(256)) * 4000
    proxy = Edgeproxy(tmp_path / "edge", {"registry.test": relay.url})
    partial = proxy.data / "partial" / digest_of(body).replace(":", "-")
    async with aiohttp.ClientSession() as session:
        await Pusher(session, registry.url, "team/crash").blob(body)
        await proxy.start()
        await proxy.stop()
        partial.write_bytes(body)
        await proxy.start()
        async with session.get(f"{proxy.url}/v2/team/crash/blobs/{digest_of(body)}") as answer:
            assert await answer.read() == body
        await proxy.stop()
    assert not relay.asked("GET", digest_of(body))


def _size(proxy: Edgeproxy) -> int:
    return sum(file.stat().st_size for file in proxy.partials())
