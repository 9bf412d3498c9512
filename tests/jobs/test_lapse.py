"""A daemon that has learned for how long images are away lets go what is away longer, while its registry answers."""

from pathlib import Path

from edgeproxy.oci.digest import Digest
from tests.api.conftest import HERE, Proxy, serving
from tests.fakes.clock import ManualClock

HOUR, DAY = 3600.0, 86400.0


async def step(proxy: Proxy, name: str) -> None:
    (job,) = [job for job in [*proxy.daemon.jobs(), *proxy.daemon.judgement.jobs()] if job.name == name][:1]
    await job.step()


async def ask(proxy: Proxy, tag: str) -> None:
    await proxy.ask(f"/v2/{HERE}/manifests/{tag}")


def held(proxy: Proxy, digest: Digest) -> bool:
    return proxy.daemon.catalog.held(digest) is not None


async def test_what_is_away_for_longer_than_others_goes(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, {"learn": {"late": "10%"}}, clock=clock) as proxy:
        often, once = (proxy.shelf.image(HERE, tag) for tag in ("2.0.0", "1.0.0"))
        await ask(proxy, "1.0.0")
        for _ in range(14 * 24):
            await ask(proxy, "2.0.0")
            clock.advance(HOUR)
            await step(proxy, "learn")
        await step(proxy, "carry over uses")
        await step(proxy, "lapse")
        assert held(proxy, once.digest), "of what a newer release follows nothing is known"
        newer = proxy.shelf.image(HERE, "2.0.1")
        await ask(proxy, "2.0.1")
        clock.advance(4 * DAY)
        await step(proxy, "learn")
        await step(proxy, "carry over uses")
        await step(proxy, "lapse")
        assert held(proxy, newer.digest), "its registry has not answered lately"
        proxy.shelf.image(HERE, "latest")
        await ask(proxy, "latest")
        await step(proxy, "lapse")
        assert [held(proxy, each.digest) for each in (once, often, newer)] == [True, True, False]
        document = proxy.daemon.judgement.document()
        assert document is not None
        assert document["late"] == 0.0
        assert proxy.traffic.lapsed == 1


async def test_without_a_bound_nothing_goes(tmp_path: Path) -> None:
    clock = ManualClock()
    async with serving(tmp_path, {}, clock=clock) as proxy:
        image = proxy.shelf.image(HERE, "1.0.0")
        await ask(proxy, "1.0.0")
        clock.advance(1000 * DAY)
        await ask(proxy, "latest")
        await step(proxy, "lapse")
        assert held(proxy, image.digest)
