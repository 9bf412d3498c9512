"""The cache by repository, and what would leave next."""

from pathlib import Path

from edgeproxy.cache.survey import Found, Survey, reason
from edgeproxy.interfaces import Held
from edgeproxy.oci.digest import Digest
from tests.api.conftest import HERE, serving
from tests.fakes.clock import ManualClock


async def test_it_is_made_while_somebody_looks(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as proxy:
        proxy.shelf.image(HERE, "1.0", [b"some layer"])
        for path in (f"/v2/{HERE}/manifests/1.0", f"/v2/{HERE}/blobs/{Digest.of(b'some layer')}"):
            await proxy.ask(path)
        await proxy.keeps(b"some layer")
        clock = ManualClock()
        survey = Survey(proxy.daemon.catalog, clock, lambda: proxy.daemon.room)
        await survey.step()
        assert survey.look() == Found()
        await survey.step()
        found = survey.look()
        ((name, share),) = found.repositories
        assert (name, share.images) == (str(HERE), 1)
        assert share.bytes == proxy.daemon.catalog.total()
        assert [each.name for each in found.leaving] == [f"{HERE}:1.0"]
        assert found.leaving[0].held.size == share.bytes
        assert found.blobs == 2


def test_the_reason_is_said_in_words() -> None:
    now = 1_700_000_000.0
    held = Held(Digest.of(b""), 1, now, now - 3 * 86400, uses=4)
    assert reason(held, now) == "used 4 times, last 3 days ago"
    assert reason(Held(Digest.of(b""), 1, now, now), now) == "used once, last a moment ago"
