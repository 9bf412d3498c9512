"""Token servers that refuse, fail, lie or lead elsewhere; and what nobody may read of a login."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession
from yarl import URL

from edgeproxy.oci.errors import Refusal, TooManyRequests, Unavailable, UpstreamTimeout, UpstreamUnauthorized
from edgeproxy.remote.registry import Registry, Timeouts
from tests.remote.scripted import LOGIN, always, content, raw, registry_at, serving
from tests.remote.test_redirects import public_session


@asynccontextmanager
async def challenged(
    challenge: str, timeouts: Timeouts | None = None, public: ClientSession | None = None
) -> AsyncIterator[Registry]:
    """A registry, called by a public name where it has a session for that, which only ever says this challenge."""
    async with serving(always(401, headers={"WWW-Authenticate": challenge})) as server:
        url = server.url if public is None else URL(f"http://public.test:{server.url.port}")
        async with registry_at(url, LOGIN, timeouts, public) as registry:
            yield registry


async def refusal(registry: Registry) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await content(registry)
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamUnauthorized),
        (401, UpstreamUnauthorized),
        (403, UpstreamUnauthorized),
        (404, UpstreamUnauthorized),
        (302, Unavailable),
        (429, TooManyRequests),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_a_token_server_that_refuses_is_named_with_its_status(status: int, kind: type[Refusal]) -> None:
    async with (
        serving(always(status, b'{"token": "a"}', {"Location": "/"})) as tokens,
        challenged(f'Bearer realm="{tokens.url}"') as registry,
    ):
        refused = await refusal(registry)
    assert type(refused) is kind
    assert f"127.0.0.1 {'refuses the login' if kind is UpstreamUnauthorized else 'gives no token'}" in refused.message
    assert f"status {status}" in refused.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"<html>",
        b"[]",
        b"null",
        b'"a"',
        b"{}",
        b'{"token": ""}',
        b'{"token": null}',
        b'{"token": "a", "expires_in": "soon"}',
        b'{"token": "a", "expires_in": [1]}',
        b"[" * 50_000,
        b'{"token": "a"' + b" " * 2**21 + b"}",
    ],
    ids=lambda body: body[:40].decode(errors="replace"),
)
async def test_what_is_no_token_is_told_as_such(body: bytes) -> None:
    async with serving(always(200, body)) as tokens, challenged(f'Bearer realm="{tokens.url}"') as registry:
        refused = await refusal(registry)
    assert type(refused) is Unavailable
    assert "gives something that is not a token" in refused.message


@pytest.mark.parametrize("text", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"])
async def test_a_token_server_that_does_not_speak_http_is_unavailable(text: bytes) -> None:
    async with raw(text) as url, challenged(f'Bearer realm="{url}"') as registry:
        assert type(await refusal(registry)) is Unavailable


async def test_a_token_server_that_is_not_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        realm = f"http://127.0.0.1:{closed.getsockname()[1]}"
    async with challenged(f'Bearer realm="{realm}"') as registry:
        assert "127.0.0.1 gives no token" in (await refusal(registry)).message


@pytest.mark.parametrize("text", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"])
async def test_a_token_server_that_is_silent_is_a_timeout(text: bytes) -> None:
    async with (
        raw(text, then=asyncio.Event()) as url,
        challenged(f'Bearer realm="{url}"', Timeouts(5, 0.05, 5)) as registry,
    ):
        assert type(await refusal(registry)) is UpstreamTimeout


@pytest.mark.parametrize("challenge", ["", "Negotiate", "Bearer", 'Bearer service="a"', "Digest realm=a", "NTLM abc"])
async def test_a_challenge_of_another_kind_is_a_matter_of_the_configuration(challenge: str) -> None:
    async with challenged(challenge) as registry:
        refused = await refusal(registry)
    assert type(refused) is UpstreamUnauthorized
    assert "a kind unknown here" in refused.message


@pytest.mark.parametrize(
    "realm", ["/token", "token", "", "ftp://a/token", "file:///etc/passwd", "http://[", "http://a:99999"]
)
async def test_a_realm_that_is_no_address_is_the_registrys_failure(realm: str) -> None:
    async with challenged(f'Bearer realm="{realm}"') as registry:
        assert isinstance(await refusal(registry), Unavailable)


async def test_a_public_registry_names_no_realm_in_the_network() -> None:
    async with (
        serving(always(200, b'{"token": "a"}')) as inside,
        challenged(f'Bearer realm="{inside.url}"', public=public_session()) as registry,
    ):
        assert "inside this network" in (await refusal(registry)).message
    assert inside.asked == []


@pytest.mark.parametrize("status", [200, 401, 500])
async def test_neither_login_nor_token_is_ever_shown(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with (
        serving(always(status, b'{"token": "hidden-token"}')) as tokens,
        challenged(f'Bearer realm="{tokens.url}"') as registry,
    ):
        refused = await refusal(registry)
        seen = f"{refused!r} {refused} {refused.__cause__!r} {registry!r} {vars(registry)!r}"
    for secret in ("hidden-password", "hidden-token", LOGIN.basic().removeprefix("Basic ")):
        assert secret not in seen + caplog.text
