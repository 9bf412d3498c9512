"""A disk that is full: pulls go on, past it, and it is said so."""

from pathlib import Path

import aiohttp

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Pusher, digest_of
from tests.parts.registry import DockerRegistry
from tests.store.disks import small_disk

SIZE = 12_000_000


async def test_what_the_disk_does_not_take_passes_by(tmp_path: Path, registry: DockerRegistry) -> None:
    body = b"".join(number.to_bytes(4, "big") for number in range(SIZE // 4))
    with small_disk(tmp_path / "disk", 8_000_000) as disk:
        async with aiohttp.ClientSession() as session, Edgeproxy(disk, {"registry.test": registry.url}) as proxy:
            await Pusher(session, registry.url, "team/large").blob(body)
            url = f"{proxy.url}/v2/team/large/blobs/{digest_of(body)}"
            for _ in ("first", "again"):
                async with session.get(url) as answer:
                    assert answer.status == 200
                    assert await answer.read() == body
            async with session.get(url, headers={"Range": "bytes=11000000-11000099"}) as answer:
                assert await answer.read() == body[11_000_000:11_000_100]
            assert proxy.partials() == []
            assert "passes through without being kept" in proxy.log.read_text()
