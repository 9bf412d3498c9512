"""`Cache-Control: only-if-cached` (RFC 9111, section 5.2.1.7): what is here, and 504 for the rest."""

import pytest

from tests.api.conftest import HERE, Proxy

ONLY = "Cache-Control: max-age=0, Only-If-Cached"
LAYER = bytes(300_000)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_not_here_is_not_asked_for(proxy: Proxy, method: str) -> None:
    pinned = proxy.shelf.blob(HERE, LAYER)
    image = proxy.shelf.image(HERE, "1.0")
    for target in (f"blobs/{pinned.digest}", f"manifests/{image.digest}", "manifests/1.0", "tags/list"):
        answer = await proxy.ask(f"/v2/team/app/{target}", ONLY, method=method)
        assert answer.status == 504
    assert proxy.shelf.asked == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_here_is_answered(proxy: Proxy, method: str) -> None:
    pinned = proxy.shelf.blob(HERE, LAYER)
    image = proxy.shelf.image(HERE, "1.0")
    targets = (f"blobs/{pinned.digest}", "manifests/1.0", f"manifests/{image.digest}")
    for target in targets:
        await proxy.ask(f"/v2/team/app/{target}")
    await proxy.keeps(LAYER)
    asked = len(proxy.shelf.asked)
    for target in targets:
        answer = await proxy.ask(f"/v2/team/app/{target}", ONLY, method=method)
        assert answer.status == 200
        assert answer.fields["cache-status"].startswith("edgeproxy; hit")
    part = await proxy.ask(f"/v2/team/app/blobs/{pinned.digest}", ONLY, "Range: bytes=10-19")
    assert (part.status, part.body) == (206, LAYER[10:20])
    assert len(proxy.shelf.asked) == asked


async def test_what_another_repository_brought_is_not_shown(proxy: Proxy) -> None:
    pinned = proxy.shelf.blob(HERE, LAYER)
    await proxy.ask(f"/v2/team/app/blobs/{pinned.digest}")
    await proxy.keeps(LAYER)
    assert (await proxy.ask(f"/v2/team/other/blobs/{pinned.digest}", ONLY)).status == 504
