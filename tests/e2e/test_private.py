"""What upstream shows only to our login is refused to everybody else on site, whichever way it is asked for."""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.parts.clients import client
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.processes import need, wait_until
from tests.parts.registry import DockerRegistry

SECRET = "not for the log"


def by_htpasswd(tmp_path: Path) -> str:
    need("htpasswd")
    users = subprocess.run(["htpasswd", "-nbB", "me", SECRET], check=True, capture_output=True, text=True).stdout
    (tmp_path / "users").write_text(users)
    return f'auth: {{htpasswd: {{realm: here, path: "{tmp_path / "users"}"}}}}\n'


@asynccontextmanager
async def site(
    tmp_path: Path, registry: DockerRegistry, more: str = ""
) -> AsyncIterator[tuple[DockerRegistry, Edgeproxy]]:
    """`private.test` wants a login, which we have; `open.test` has the same content and wants none."""
    login = f'username = "me"\npassword = "{SECRET}"\n'
    opened = f'[registry."open.test"]\n[[registry."open.test".upstream]]\nurl = "{registry.url}"\n'
    async with (
        DockerRegistry(tmp_path / "guarded", registry.storage, more=by_htpasswd(tmp_path)) as upstream,
        Edgeproxy(tmp_path / "edge", {"private.test": upstream.url}, login=login, more=opened + more) as proxy,
    ):
        yield upstream, proxy


async def prefetched(session: aiohttp.ClientSession, proxy: Edgeproxy, image: str) -> None:
    async with session.post(f"{proxy.admin}/api/v1/prefetch", json={"images": [image]}) as answer:
        assert answer.status == 202, await answer.text()
    await wait_until(lambda: f"prefetched {image}" in proxy.log.read_text(), "the image is here")


async def asked(session: aiohttp.ClientSession, proxy: Edgeproxy, path: str) -> tuple[int, str]:
    """The status, and the code of the error."""
    async with session.get(f"{proxy.url}/v2/{path}") as answer:
        body = json.loads(await answer.read())
    return answer.status, body["errors"][0]["code"] if "errors" in body else ""


async def test_a_private_image_is_refused_by_every_way(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery
) -> None:
    image = gallery.docker
    async with site(tmp_path, registry) as (upstream, proxy), aiohttp.ClientSession() as session:
        await prefetched(session, proxy, "private.test/team/docker:1.0")
        manifest = json.loads((registry.blob_file(image.digest)).read_bytes())
        layer = manifest["layers"][0]["digest"]
        name = "private.test/team/docker"
        ways = [
            f"{name}/manifests/1.0",
            f"{name}/manifests/{image.digest}",
            f"{name}/blobs/{layer}",
            f"{name}/tags/list",
            f"{name}/referrers/{image.digest}",
            "team/docker/manifests/1.0",
            "team/docker/manifests/1.0?ns=private.test",
        ]
        for running in (True, False):
            for way in ways:
                assert await asked(session, proxy, way) == (403, "DENIED"), way
            assert (await asked(session, proxy, f"open.test/team/nothing/blobs/{layer}"))[0] in (404, 503)
            async with session.get(f"{proxy.url}/v2/_catalog") as answer:
                assert "private.test" not in await answer.text()
            if running:
                await upstream.stop()
                await registry.stop()
        assert SECRET not in proxy.log.read_text()


async def test_a_public_image_beside_it_is_served_and_stays_so_without_upstream(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery
) -> None:
    async with site(tmp_path, registry) as (upstream, proxy), aiohttp.ClientSession() as session:
        async with client("skopeo", tmp_path / "client", proxy.url, "open.test") as skopeo:
            await skopeo.pull("open.test", "team/docker:1.0")
            assert (await asked(session, proxy, "private.test/team/docker/manifests/1.0"))[0] == 403
            await upstream.stop()
            await registry.stop()
            await proxy.stop()
            await proxy.start()
            await skopeo.empty()
            await skopeo.pull("open.test", "team/docker:1.0")
        # Nothing of it is here, and nobody can be asked whose it is.
        assert (await asked(session, proxy, "private.test/team/docker/manifests/1.0"))[0] == 503


async def test_a_rule_opens_it_and_a_list_closes_all(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery
) -> None:
    rule = '[[access]]\nallow = "puller"\non = ["private.test/team/docker"]\n[fetch]\ndeny = ["open.test/team/*"]\n'
    async with site(tmp_path, registry, rule) as (_, proxy), aiohttp.ClientSession() as session:
        assert await asked(session, proxy, "private.test/team/docker/manifests/1.0") == (200, "")
        assert await asked(session, proxy, "private.test/team/index/manifests/1.0") == (403, "DENIED")
        assert await asked(session, proxy, "open.test/team/docker/manifests/1.0") == (403, "DENIED")


@pytest.mark.parametrize("path", ["private.test/team/none/manifests/1.0", "private.test/team/docker/manifests/none"])
async def test_whether_something_private_exists_is_not_told(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, path: str
) -> None:
    async with site(tmp_path, registry) as (_, proxy), aiohttp.ClientSession() as session:
        assert await asked(session, proxy, path) == (403, "DENIED")
