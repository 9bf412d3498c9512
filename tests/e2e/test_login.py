"""`edgeproxy login`: tried, kept, used; and forgotten."""

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.guarded import SECRET, behind_tokens, guarded
from tests.e2e.test_logins import OPENED, by_htpasswd, pulled, written
from tests.e2e.test_prefetch import edgeproxy
from tests.parts.authorities import Certificates
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.registry import DockerRegistry
from tests.parts.tokens import TokenServer


@pytest.fixture
async def tokens(signed: Certificates) -> AsyncIterator[TokenServer]:
    async with TokenServer(signed, "me", SECRET) as tokens:
        yield tokens


async def status(proxy: Edgeproxy) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{proxy.url}/v2/team/docker/manifests/1.0") as answer,
    ):
        return answer.status


async def login(proxy: Edgeproxy, *words: str, password: str = SECRET) -> tuple[int, str, str]:
    return await edgeproxy(proxy, "login", *words, "-u", "me", "--password-stdin", stdin=f"{password}\n")


async def test_by_tokens(tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer) -> None:
    async with (
        behind_tokens(tmp_path, registry, tokens) as relay,
        Edgeproxy(tmp_path / "edge", {"registry.test": relay.url}, more=OPENED) as proxy,
    ):
        assert await status(proxy) in (401, 403, 502)
        code, said, complaint = await login(proxy, "registry.test", password="wrong")
        assert (code, said) == (1, "")
        assert "refuses the login" in complaint
        assert await status(proxy) != 200
        code, said, _ = await login(proxy, "registry.test")
        assert code == 0
        assert said.startswith("registry.test is asked as me from now on, at 127.0.0.1:")
        await pulled(tmp_path, proxy, gallery)
        file = proxy.data / "logins.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        await proxy.stop()
        await proxy.start()
        async with aiohttp.ClientSession() as session, session.get(f"{proxy.admin}/api/v1/logins") as answer:
            told = await answer.text()
        assert SECRET not in told
        assert [(each["registry"], each["username"], each["kept"]) for each in json.loads(told)["logins"]] == [
            ("registry.test", "me", True)
        ]
        assert (await edgeproxy(proxy, "logout", "registry.test"))[:2] == (
            0,
            "registry.test: the login is forgotten\n",
        )
        assert json.loads(file.read_text()) == {"auths": {}}
        assert "no login" in (await edgeproxy(proxy, "logout", "registry.test"))[1]


async def test_by_htpasswd(tmp_path: Path, registry: DockerRegistry, gallery: Gallery) -> None:
    async with (
        guarded(tmp_path, registry, by_htpasswd(tmp_path)) as upstream,
        Edgeproxy(tmp_path / "edge", {"registry.test": upstream.url}, more=OPENED) as proxy,
    ):
        code, _, complaint = await login(proxy, "registry.test", password="wrong")
        assert code == 1
        assert "does not take the login of me" in complaint
        code, said, _ = await login(proxy, "registry.test", "--json")
        assert (code, json.loads(said)["logins"][0]["kept"]) == (0, True)
        await pulled(tmp_path, proxy, gallery)


async def test_what_makes_no_sense_is_told(tmp_path: Path, registry: DockerRegistry) -> None:
    secret = written(tmp_path / "secret", SECRET)
    configured = f'[registry."own.test"]\n[[registry."own.test".upstream]]\nurl = "{registry.url}"\n'
    configured += f'username = "we"\npassword_file = "{secret}"\n'
    dead = '[registry."dead.test"]\n[[registry."dead.test".upstream]]\nurl = "http://127.0.0.1:1"\n'
    async with (
        Edgeproxy(tmp_path / "edge", {"registry.test": registry.url}, more=configured + dead) as proxy,
        aiohttp.ClientSession() as session,
    ):
        for name, told in (
            ("registry.tesd", "did you mean registry.test?"),
            ("own.test", "the login of own.test is the configuration's: change it there"),
            ("dead.test", "cannot be reached"),
        ):
            code, _, complaint = await login(proxy, name)
            assert code == 1
            assert told in complaint
        for body in (b"{", b"[]", b'{"username": "a:b", "password": "c"}', b'{"username": "a", "password": ""}'):
            async with session.put(f"{proxy.admin}/api/v1/logins/registry.test", data=body) as answer:
                assert answer.status == 400
                assert "write {" in (await answer.json())["detail"]
        assert not (proxy.data / "logins.json").exists()
