"""dockerd mirrors Docker Hub only, and sends Hub's login to a mirror that asks for one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.access.test_users import hashed
from tests.e2e.guarded import SECRET, behind_tokens
from tests.parts.docker import HUB, Docker, docker
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.processes import CommandError
from tests.parts.registry import DockerRegistry
from tests.parts.tokens import TokenServer

OPEN, CLOSED = "team/index:1.0", "team/docker:1.0"
RULE = '[[access]]\nallow = "puller"\nto = ["alice"]\non = ["docker.io/team/*"]\n'


@asynccontextmanager
async def hub(
    tmp_path: Path, registry: DockerRegistry, tokens: TokenServer, *, ours: bool, auth: str = "", more: str = ""
) -> AsyncIterator[tuple[Edgeproxy, Docker]]:
    """A mirror of what stands for Docker Hub here, which shows `team/index` to anybody."""
    tokens.public = ("team/index",)
    users = tmp_path / "users"
    users.write_text(f"alice:{hashed('right')}\n")
    login = f'username = "me"\npassword = "{SECRET}"\n' if ours else ""
    settings = f'[auth]\nhtpasswd = "{users}"\n{auth}{more}'
    async with (
        behind_tokens(tmp_path, registry, tokens) as upstream,
        Edgeproxy(tmp_path / "edge", {"docker.io": upstream.url}, login=login, more=settings) as proxy,
        docker(proxy.url) as client,
    ):
        yield proxy, client
        assert SECRET not in proxy.log.read_text()


@pytest.mark.parametrize("known", ["", "hubert:of the hub"])
@pytest.mark.parametrize("auth", ["", 'challenge = ["127.0.0.1"]\n'])
async def test_what_is_public_is_pulled_through_the_mirror_with_any_login_or_none(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer, known: str, auth: str
) -> None:
    async with hub(tmp_path, registry, tokens, ours=True, auth=auth) as (proxy, client):
        client.knows({HUB: known} if known else {})
        await client.ask("pull", "--quiet", OPEN)
        assert await client.digest(OPEN) == gallery.index.digest
        assert await proxy.metric("edgeproxy_sent_bytes_total", kind="blobs") > 0
        with pytest.raises(CommandError):
            await client.ask("pull", "--quiet", CLOSED)


async def test_a_login_of_the_hubs_opens_what_the_hub_shows_it(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer
) -> None:
    """docker sends it to a mirror that asks at `/v2/`, and at no other time."""
    auth = 'challenge = ["127.0.0.1"]\npass_through = true\n'
    async with hub(tmp_path, registry, tokens, ours=False, auth=auth) as (_, client):
        client.knows({HUB: f"me:{SECRET}"})
        await client.ask("pull", "--quiet", CLOSED)
        assert await client.digest(CLOSED) == gallery.docker.digest
        await client.ask("image", "rm", CLOSED)
        client.knows({HUB: "me:another"})
        with pytest.raises(CommandError):
            await client.ask("pull", "--quiet", CLOSED)


async def test_docker_login_and_a_pull_by_the_proxys_own_name(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer
) -> None:
    auth = 'challenge = ["127.0.0.1"]\n'
    async with hub(tmp_path, registry, tokens, ours=True, auth=auth, more=RULE) as (proxy, client):
        place = proxy.url.removeprefix("http://")
        image = f"{place}/docker.io/{CLOSED}"
        with pytest.raises(CommandError, match="unauthorized"):
            await client.ask("login", place, "--username", "alice", "--password", "wrong")
        with pytest.raises(CommandError):
            await client.ask("pull", "--quiet", image)
        assert "Succeeded" in await client.ask("login", place, "--username", "alice", "--password", "right")
        await client.ask("pull", "--quiet", image)
        assert await client.digest(image) == gallery.docker.digest
