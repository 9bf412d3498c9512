"""Planted secrets, shown in every way that goes well or wrong: none of them turns up anywhere."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import aiohttp

from edgeproxy.oci.credentials import Credentials
from tests.access.test_users import hashed
from tests.cli.running import command
from tests.e2e.guarded import behind_tokens
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.registry import DockerRegistry
from tests.parts.tokens import TokenServer

OURS, SITES, WRONG, THEIRS, LATER = (f"planted-{word}" for word in ("ours", "sites", "wrong", "theirs", "later"))
PLANTED = (OURS, SITES, WRONG, THEIRS, LATER, "planted-query", "planted-user", "planted-nonsense", "planted-prefetch")
LOGINS = [("alice", SITES), ("alice", WRONG), ("me", THEIRS), ("me", WRONG), ("somebody", LATER)]
PATHS = [
    "v2/",
    "v2/_catalog",
    "v2/registry.test/team/docker/manifests/1.0",
    "v2/registry.test/team/docker/manifests/none",
    "v2/registry.test/team/docker/tags/list?token=planted-query",
    "v2/registry.test/team/index/manifests/1.0",
    "v2/registry.test/none/manifests/1.0?password=planted-query",
    "v2/registry.test/team/index/blobs/sha256:" + "0" * 64,
    "token?service=registry.test&scope=repository:registry.test/team/docker:pull",
    "token",
    "nowhere?secret=planted-query",
]


def encodings(secret: str) -> Iterator[str]:
    """The secret, and what a login with it looks like on the wire, for whoever it is."""
    yield secret
    for name, password in LOGINS:
        if password == secret:
            yield Credentials(name, secret).basic().removeprefix("Basic ")


async def said(session: aiohttp.ClientSession, method: str, url: str, **more: object) -> tuple[str, str]:
    """All that is answered; and the token in it, which is a secret of its owner's."""
    async with session.request(method, url, **more) as answer:  # type: ignore[arg-type]
        text = await answer.text(errors="replace")
        token = ""
        if "/token" in url and answer.status == 200:
            token = json.loads(text)["token"]
            text = text.replace(token, "")
        return f"{answer.status} {dict(answer.headers)} {text}", token


async def everything_asked(proxy: Edgeproxy, tokens: list[str]) -> str:
    heard = []
    async with aiohttp.ClientSession() as session:
        logins = [Credentials(*login).basic() for login in LOGINS]
        for login in [
            "",
            *logins,
            "Bearer planted-nonsense",
            "Bearer planted.nonsense.planted-nonsense",
            "planted-nonsense",
        ]:
            for path in PATHS:
                fields = {"Authorization": login} if login else {}
                answer, token = await said(session, "GET", f"{proxy.url}/{path}", headers=fields)
                heard.append(answer)
                tokens += [token] if token else []
        for name, password in LOGINS:
            form = urlencode({"grant_type": "password", "username": name, "password": password})
            answer, token = await said(session, "POST", f"{proxy.url}/token", data=form)
            heard.append(answer)
            tokens += [token] if token else []
        for token in tokens[:20]:
            fields = {"Authorization": f"Bearer {token}"}
            heard += [(await said(session, "GET", f"{proxy.url}/{path}", headers=fields))[0] for path in PATHS[2:5]]
        await said(session, "POST", f"{proxy.admin}/api/v1/prefetch", data='{"images": ["a:planted-prefetch"')
    heard.append(
        await raw(proxy, b"GET http://planted-user:planted-user@edge/v2/none/manifests/1 HTTP/1.1\r\nHost: x\r\n")
    )
    heard.append(await raw(proxy, b"GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization planted-nonsense\r\n"))
    return "\n".join(heard)


async def raw(proxy: Edgeproxy, request: bytes) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(request + b"Connection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    await writer.wait_closed()
    return answer.decode("latin-1")


async def test_no_secret_is_told_anywhere(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, tokens: TokenServer
) -> None:
    (tmp_path / "users").write_text(f"alice:{hashed(SITES)}\n")
    tokens.username, tokens.password, tokens.public = "me", THEIRS, ("team/index",)
    auth = f'[auth]\nhtpasswd = "{tmp_path / "users"}"\npass_through = true\n'
    rules = '[[access]]\nallow = "puller"\nto = ["alice"]\n'
    other = f'[[registry."other.test".upstream]]\nurl = "http://127.0.0.1:9"\nusername = "us"\npassword = "{OURS}"\n'
    given: list[str] = []
    async with (
        behind_tokens(tmp_path, registry, tokens) as relay,
        Edgeproxy(tmp_path / "edge", {"registry.test": relay.url}, more=auth + rules + other) as proxy,
    ):
        heard = await everything_asked(proxy, given)
        await relay.__aexit__(None, None, None)
        heard += await everything_asked(proxy, given)
        async with aiohttp.ClientSession() as session:
            for path in ("metrics", "readyz", "api/v1/nothing"):
                heard += (await said(session, "GET", f"{proxy.admin}/{path}"))[0]
        await relay.__aenter__()
    checked = await command("check", "-c", tmp_path / "edge" / "edgeproxy.toml")
    assert checked.code == 0
    log = proxy.log.read_text()
    assert "refused to" in log
    key = (proxy.data / "TOKEN_KEY").read_text().strip()
    everything = {"answers": heard, "log": log, "check": checked.out + checked.words}
    secrets = [found for one in PLANTED for found in encodings(one)] + given + [key, tokens.last]
    echoed = {"planted-query", "planted-nonsense", "planted-user"}  # a client that shows these to itself is its own
    for where, text in everything.items():
        found = [secret for secret in secrets if secret in text and not (where == "answers" and secret in echoed)]
        assert not found, f"{where}: {found}"
    kept = [file for file in proxy.data.rglob("*") if file.is_file() and file.name != "TOKEN_KEY"]
    for file in kept:
        body = file.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in body], file
