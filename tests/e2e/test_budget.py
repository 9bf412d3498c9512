"""Three times the budget is pulled: the disk holds the budget, and every byte is right."""

import asyncio
import random
from pathlib import Path

import aiohttp

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Pusher, digest_of
from tests.parts.registry import DockerRegistry

BUDGET = 24_000_000
BLOB = 1_500_000
BLOBS = 3 * BUDGET // BLOB
CLIENTS = 4


async def test_the_budget_holds(tmp_path: Path, registry: DockerRegistry) -> None:
    bodies = {digest_of(body): body for body in (random.Random(seed).randbytes(BLOB) for seed in range(BLOBS))}
    async with (
        aiohttp.ClientSession() as session,
        Edgeproxy(tmp_path / "edge", {"registry.test": registry.url}, budget=f"{BUDGET}B") as proxy,
    ):
        pusher = Pusher(session, registry.url, "team/budget")
        for body in bodies.values():
            await pusher.blob(body)
        most = 0

        async def pull(digests: list[str]) -> None:
            nonlocal most
            for digest in digests:
                async with session.get(f"{proxy.url}/v2/team/budget/blobs/{digest}") as answer:
                    assert await answer.read() == bodies[digest], f"wrong content for {digest}"
                most = max(most, proxy.bytes_on_disk())
                assert await proxy.metric("edgeproxy_cache_bytes") <= BUDGET

        for _ in ("cold", "again, partly evicted"):
            order = list(bodies)
            await asyncio.gather(*(pull(order[client::CLIENTS]) for client in range(CLIENTS)))
        # In flight for each client: the blob it pulls, and the one before, which is being kept behind its back.
        assert most <= BUDGET + 2 * CLIENTS * BLOB
        assert await proxy.metric("edgeproxy_evictions_total") > 0
        await proxy.stop()
    assert proxy.bytes_on_disk() <= BUDGET
    for file in (proxy.data / "blobs").rglob("*"):
        if file.is_file():
            assert digest_of(file.read_bytes())[7:] == file.name, "a torn blob"
