"""Who may pull what, by real clients: logins of the site's, logins of the callers' own, and none."""

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from edgeproxy.access.issuer import Issuer
from edgeproxy.oci.credentials import Credentials
from tests.access.test_users import hashed
from tests.e2e.guarded import SECRET, behind_tokens
from tests.parts.clients import client
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.processes import CommandError, wait_until
from tests.parts.registry import DockerRegistry
from tests.parts.relay import RecordingRelay
from tests.parts.tokens import TokenServer

ALICE, BOB, WRONG, THEIRS = "alice:alices-own", "bob:bobs-own", "alice:guessed", f"me:{SECRET}"
SECRETS = ("alices-own", "bobs-own", "guessed", SECRET)
CLIENTS = ("skopeo", "skopeo-configured", "podman", "containerd")
OPEN, CLOSED = "team/index:1.0", "team/docker:1.0"
RULES = '[[access]]\nallow = "puller"\nto = ["alice"]\non = ["registry.test/team/docker"]\n'


class Site(NamedTuple):
    proxy: Edgeproxy
    upstream: RecordingRelay
    registry: DockerRegistry
    directory: Path

    async def without_upstream(self) -> None:
        await self.upstream.__aexit__(None, None, None)
        await self.registry.stop()

    async def status(self, path: str, login: str = "", **fields: str) -> int:
        """Of an answer to a name and a password, or to other fields."""
        return (await self.ask(f"v2/{path}", login, **fields))[0]

    async def ask(self, path: str, login: str = "", **fields: str) -> tuple[int, Any]:
        """The status, and the document where it is one."""
        if login:
            name, _, password = login.partition(":")
            fields["Authorization"] = Credentials(name, password).basic()
        async with aiohttp.ClientSession(headers=fields) as session, session.get(f"{self.proxy.url}/{path}") as answer:
            body = await answer.read()
            return answer.status, json.loads(body) if answer.content_type == "application/json" else None


@asynccontextmanager
async def site(
    tmp_path: Path, registry: DockerRegistry, tokens: TokenServer, *, ours: bool, auth: str = "", more: str = ""
) -> AsyncIterator[Site]:
    """Upstream shows `team/index` to anybody, and the rest by a login; `ours`: the proxy has that login."""
    tokens.public = ("team/index",)
    users = tmp_path / "users"
    users.write_text(
        "".join(f"{name}:{hashed(password)}\n" for name, password in (one.split(":") for one in (ALICE, BOB)))
    )
    login = f'username = "me"\npassword = "{SECRET}"\n' if ours else ""
    settings = f'[auth]\nhtpasswd = "{users}"\n{auth}' + more
    async with (
        behind_tokens(tmp_path, registry, tokens) as relay,
        Edgeproxy(tmp_path / "edge", {"registry.test": relay.url}, login=login, more=settings) as proxy,
    ):
        yield Site(proxy, relay, registry, tmp_path)
        log = proxy.log.read_text()
        assert not [secret for secret in SECRETS if secret in log]


async def refused(site: Site, name: str, image: str, login: str = "") -> bool:
    """Whether a client that has nothing yet cannot pull an image."""
    home = site.directory / f"c{len(list(site.directory.iterdir()))}"  # containerd takes no long paths
    async with client(name, home, site.proxy.url, "registry.test") as puller:
        try:
            await puller.pull("registry.test", image, login)
        except CommandError as error:
            said = str(error).lower()
            assert any(word in said for word in ("unauthorized", "forbidden", "denied", "not for")), said
            return True
        return False


async def ways(registry: DockerRegistry, gallery: Gallery) -> Mapping[str, str]:
    """Every way to ask for what `team/docker` holds."""
    digest = gallery.docker.digest
    manifest = json.loads(registry.blob_file(digest).read_bytes())
    shared, own = (one["digest"] for one in manifest["layers"])
    assert shared in gallery.index.children[0].blobs
    return {
        "tag": "registry.test/team/docker/manifests/1.0",
        "manifest": f"registry.test/team/docker/manifests/{digest}",
        "blob": f"registry.test/team/docker/blobs/{own}",
        "config": f"registry.test/team/docker/blobs/{manifest['config']['digest']}",
        "shared": f"registry.test/team/docker/blobs/{shared}",
        "tags": "registry.test/team/docker/tags/list",
        "referrers": f"registry.test/team/docker/referrers/{digest}",
        "default": "team/docker/manifests/1.0",
        "ns": f"team/docker/blobs/{own}?ns=registry.test",
        "public": f"registry.test/team/index/blobs/{own}",
        "public manifest": f"registry.test/team/index/manifests/{digest}",
    }


async def check_ways(site: Site, found: Mapping[str, str], login: str, *, allowed: bool) -> None:
    for name, path in found.items():
        status = await site.status(path, login)
        if name.startswith("public"):
            assert status in (404, 503, 504), (name, status)
        else:
            assert status == (200 if allowed else 403 if login == BOB else 401), (name, login, status)


@pytest.mark.parametrize("name", CLIENTS)
async def test_with_and_without_a_login(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer, name: str
) -> None:
    async with site(tmp_path, registry, tokens, ours=True, more=RULES) as here:
        async with client(name, tmp_path / "alice", here.proxy.url, "registry.test") as alice:
            await alice.pull("registry.test", CLOSED, ALICE)
            assert await alice.digest("registry.test", CLOSED) == gallery.docker.digest
        for login in ("", BOB, WRONG):
            assert await refused(here, name, CLOSED, login), login
            assert not await refused(here, name, OPEN, login), login


async def test_what_one_caller_brought_is_refused_to_another_by_every_way(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer
) -> None:
    async with site(tmp_path, registry, tokens, ours=True, more=RULES) as here:
        found = await ways(registry, gallery)
        await check_ways(here, found, ALICE, allowed=True)
        await here.status("registry.test/team/index/manifests/1.0")
        for running in (True, False):
            for login in ("", BOB, WRONG, THEIRS):
                await check_ways(here, found, login, allowed=False)
                assert await here.status("registry.test/team/index/manifests/1.0", login) == 200
            for login, names in (("", ["team/index"]), (BOB, ["team/index"]), (ALICE, ["team/docker", "team/index"])):
                assert await catalogue(here, login) == [f"registry.test/{each}" for each in names]
            if running:
                await here.without_upstream()
        lists = {name: path for name, path in found.items() if name not in ("tags", "referrers")}
        await check_ways(here, lists, ALICE, allowed=True)
        assert await here.proxy.metric("edgeproxy_refused_total", reason="private") > 0
        assert await here.proxy.metric("edgeproxy_refused_total", reason="login") > 0


async def mounted(site: Site, source: str, digest: str, login: str) -> int:
    """The status of a mount into a repository that all may push to who have a login: 201 where it was done."""
    name, _, password = login.partition(":")
    fields = {"Authorization": Credentials(name, password).basic()}
    url = f"{site.proxy.url}/v2/registry.test/mine/app/blobs/uploads/?mount={digest}&from=registry.test/{source}"
    async with aiohttp.ClientSession(headers=fields) as session, session.post(url) as answer:
        return answer.status


async def test_a_private_blob_is_mounted_by_whom_it_is_shown_to_only(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer
) -> None:
    pushers = '[[access]]\nallow = "pusher"\nto = ["authenticated"]\non = ["registry.test/mine/*"]\n'
    async with site(tmp_path, registry, tokens, ours=True, more=RULES + pushers) as here:
        found = await ways(registry, gallery)
        await check_ways(here, found, ALICE, allowed=True)
        digest = found["blob"].rpartition("/")[2]
        shared = found["shared"].rpartition("/")[2]
        assert await here.status(f"registry.test/team/index/blobs/{shared}") == 200
        assert await mounted(here, "team/docker", digest, WRONG) == 401
        assert await mounted(here, "team/docker", digest, BOB) == 202  # which begins an upload, and says nothing
        assert await mounted(here, "team/none", digest, BOB) == 202
        assert await mounted(here, "team/index", digest, BOB) == 202
        assert await here.status(f"registry.test/mine/app/blobs/{digest}", BOB) != 200
        assert await mounted(here, "team/index", shared, BOB) == 201
        assert await mounted(here, "team/docker", digest, ALICE) == 201


async def catalogue(site: Site, login: str) -> list[str]:
    return list((await site.ask("v2/_catalog", login))[1]["repositories"])


async def token(site: Site, login: str, asked: str = "") -> str:
    return str((await site.ask(f"token?{asked}", login))[1]["token"])


async def test_a_token_that_is_over_opens_nothing(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer
) -> None:
    async with site(tmp_path, registry, tokens, ours=True, more=RULES) as here:
        fresh = await token(here, ALICE)
        issuer = Issuer((here.proxy.data / "TOKEN_KEY").read_text().strip(), 300)
        opened, _ = issuer.open(fresh, time.time())
        over = issuer.seal(opened, time.time() - 301)
        path = "registry.test/team/docker/manifests/1.0"
        assert await here.status(path, Authorization=f"Bearer {fresh}") == 200
        assert await here.status(path, Authorization=f"Bearer {over}") == 401
        assert await here.status("registry.test/team/index/manifests/1.0", Authorization=f"Bearer {over}") == 200
        assert (here.proxy.data / "TOKEN_KEY").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("ours", [True, False], ids=["with a login of ours", "without"])
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_callers_own_login_opens_what_upstream_shows_it(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer, name: str, ours: bool
) -> None:
    async with site(tmp_path, registry, tokens, ours=ours, auth="pass_through = true\n") as here:
        async with client(name, tmp_path / "caller", here.proxy.url, "registry.test") as caller:
            await caller.pull("registry.test", CLOSED, THEIRS)
            assert await caller.digest("registry.test", CLOSED) == gallery.docker.digest
            await here.status("registry.test/team/index/manifests/1.0")
            found = await ways(registry, gallery)
            await check_ways(here, found, THEIRS, allowed=True)
            for login in ("", BOB, WRONG, "me:another"):
                await check_ways(here, found, login, allowed=False)
            await here.without_upstream()
            await caller.empty()
            await caller.pull("registry.test", CLOSED, THEIRS)
            for login in ("", BOB, WRONG):
                await check_ways(here, found, login, allowed=False)
        for file in here.proxy.data.rglob("*"):
            assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file


async def test_it_is_shown_to_the_registry_and_to_nobody_else(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer
) -> None:
    other = RecordingRelay("")
    mirror = f'[registry."other.test"]\n[[registry."other.test".upstream]]\nurl = "{other.url}"\n'
    async with site(tmp_path, registry, tokens, ours=False, auth="pass_through = true\n", more=mirror) as here:
        other.target = registry.url
        async with other:
            asked = "service=registry.test&scope=repository:registry.test/team/docker:pull"
            said = f"Bearer {await token(here, THEIRS, asked)}"
            assert await here.status("registry.test/team/docker/manifests/1.0", Authorization=said) == 200
            assert await here.status("other.test/team/docker/manifests/1.0", Authorization=said) == 200
            assert other.exchanges
            assert not [one for one in other.exchanges if "authorization" in {name.lower() for name in one.headers}]
            await wait_until(
                lambda: any("Authorization" in one.headers for one in here.upstream.exchanges), "it was shown"
            )
