"""Logins over the wire: anonymous and named tokens, Basic, and what happens when they are refused."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from yarl import URL

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import Unavailable, UpstreamUnauthorized
from edgeproxy.oci.reference import Pinned, Repository
from edgeproxy.remote.registry import Registry
from tests.remote.scripted import BODY, LOGIN, PINNED, SCOPE, Scripted, always, content, registry_at, serving, turns


class Issuer:
    """A registry that takes Bearer tokens of `valid` only, and its own token server at /token."""

    def __init__(
        self, realm: str = "", more: str = ',service="registry.test",scope="repository:team/app:pull"'
    ) -> None:
        self.valid: set[str] = set()
        self.issued = 0
        self.realm = realm
        self.more = more
        self.tokens = Scripted(self._issue)
        self.registry = Scripted(self._serve)

    @asynccontextmanager
    async def asked_by(self, credentials: Credentials | None = None) -> AsyncIterator[Registry]:
        async with self.registry.listening() as url, registry_at(url, credentials) as registry:
            self.tokens.url = self.tokens.url if self.realm else url / "token"
            yield registry

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return await self.tokens.handle(request)
        if request.headers.get("Authorization", "").removeprefix("Bearer ") in self.valid:
            return web.Response(body=BODY)
        challenge = f'Bearer realm="{self.realm or self.tokens.url}"{self.more}'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})

    async def _issue(self, request: web.BaseRequest) -> web.StreamResponse:
        self.issued += 1
        self.valid.add(f"token-{self.issued}")
        return web.json_response({"token": f"token-{self.issued}", "expires_in": 300})


@pytest.mark.parametrize("credentials", [None, LOGIN], ids=["anonymous", "named"])
async def test_a_token_is_asked_for_where_the_challenge_says(credentials: Credentials | None) -> None:
    issuer = Issuer()
    async with issuer.asked_by(credentials) as registry:
        assert await content(registry) == BODY
    (asked,) = issuer.tokens.asked
    assert dict(URL(asked.target).query) == {"service": "registry.test", "scope": SCOPE}
    assert asked.authorization == (credentials.basic() if credentials else None)
    blobs = [asked.authorization for asked in issuer.registry.asked if "/blobs/" in asked.target]
    assert blobs == [None, "Bearer token-1"]


async def test_what_the_challenge_does_not_say_is_filled_in() -> None:
    issuer = Issuer(more="")
    async with issuer.asked_by() as registry:
        assert await content(registry) == BODY
    assert dict(URL(issuer.tokens.asked[0].target).query) == {"scope": SCOPE}


async def test_the_scope_of_the_challenge_is_the_one_that_is_asked_for() -> None:
    issuer = Issuer(more=',scope="repository:prefix/team/app:pull"')
    async with issuer.asked_by() as registry:
        assert await content(registry) == BODY
    assert dict(URL(issuer.tokens.asked[0].target).query) == {"scope": "repository:prefix/team/app:pull"}


async def test_what_the_realm_asks_already_is_kept() -> None:
    async with serving(always(body=b'{"access_token": "a"}')) as tokens:
        issuer = Issuer(realm=f"{tokens.url}/auth?account=x%26y")
        issuer.valid.add("a")
        async with issuer.asked_by() as registry:
            assert await content(registry) == BODY
    query = {"account": "x&y", "service": "registry.test", "scope": SCOPE}
    assert dict(URL(tokens.asked[0].target).query) == query


async def test_a_login_goes_to_no_token_server_of_another_origin_in_plain_text() -> None:
    async with serving(always(body=b'{"token": "a"}')) as tokens:
        issuer = Issuer(realm=f"{tokens.url}/token")
        issuer.valid.add("a")
        async with issuer.asked_by(LOGIN) as registry:
            assert await content(registry) == BODY
    assert [asked.authorization for asked in tokens.asked] == [None]


async def test_a_token_is_used_until_it_is_refused_and_then_asked_for_anew() -> None:
    issuer = Issuer()
    async with issuer.asked_by() as registry:
        for _ in range(3):
            assert await content(registry) == BODY
        assert issuer.issued == 1
        issuer.valid.clear()
        assert await content(registry) == BODY
        assert issuer.issued == 2


async def test_a_token_that_was_refused_is_not_sent_again() -> None:
    issuer = Issuer()
    async with issuer.asked_by() as registry:
        assert await content(registry) == BODY
        issuer.valid.clear()
        issuer.tokens.answer = always(500)
        for _ in range(2):
            with pytest.raises(Unavailable, match="gives no token"):
                await content(registry)
    blobs = [asked.authorization for asked in issuer.registry.asked if "/blobs/" in asked.target]
    assert blobs == [None, "Bearer token-1", "Bearer token-1", None]


async def test_every_repository_has_its_own_token() -> None:
    issuer = Issuer(more="")
    other = Pinned(Repository("registry.test", "team/other"), PINNED.digest)
    async with issuer.asked_by() as registry:
        await content(registry)
        assert (await registry.stat("blobs", other)).size == len(BODY)
        await content(registry)
    scopes = [URL(asked.target).query["scope"] for asked in issuer.tokens.asked]
    assert scopes == [SCOPE, "repository:team/other:pull"]


async def test_many_who_are_challenged_ask_for_one_token() -> None:
    issuer, go = Issuer(), asyncio.Event()
    issue = issuer.tokens.answer

    async def once_all_are_there(request: web.BaseRequest) -> web.StreamResponse:
        await go.wait()
        return await issue(request)

    async def count_challenges(request: web.BaseRequest) -> web.StreamResponse:
        if len(issuer.registry.asked) > 20:
            go.set()
        return await serve(request)

    serve = issuer.registry.answer
    issuer.tokens.answer, issuer.registry.answer = once_all_are_there, count_challenges
    async with issuer.asked_by() as registry:
        assert await asyncio.gather(*[content(registry) for _ in range(20)]) == [BODY] * 20
    assert issuer.issued == 1


async def test_one_who_leaves_takes_the_token_from_nobody() -> None:
    issuer, asked, go = Issuer(), asyncio.Event(), asyncio.Event()
    issue = issuer.tokens.answer

    async def held(request: web.BaseRequest) -> web.StreamResponse:
        asked.set()
        await go.wait()
        return await issue(request)

    issuer.tokens.answer = held
    async with issuer.asked_by() as registry, asyncio.timeout(10):
        first, second = asyncio.create_task(content(registry)), asyncio.create_task(content(registry))
        await asked.wait()
        await turns()  # the second waits for the same token by now
        first.cancel()
        await turns()
        go.set()
        assert await second == BODY
        assert first.cancelled()
    assert issuer.issued == 1


async def test_a_token_that_is_refused_at_once_is_no_endless_talk() -> None:
    issuer = Issuer()
    issuer.tokens.answer = always(body=b'{"token": "useless"}')
    async with issuer.asked_by(LOGIN) as registry:
        with pytest.raises(UpstreamUnauthorized, match="configure a login"):
            await content(registry)
    assert len(issuer.tokens.asked) == 2, "once more with a fresh login"
    assert len(issuer.registry.asked) == 6


async def test_a_token_may_come_in_pieces() -> None:
    whole = json.dumps({"token": "a", "expires_in": 300}).encode()

    async def in_pieces(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(whole))})
        await response.prepare(request)
        for at in range(0, len(whole), 10):
            await response.write(whole[at : at + 10])
            await turns()  # the other side reads what there is
        return response

    issuer = Issuer()
    issuer.valid.add("a")
    issuer.tokens.answer = in_pieces
    async with issuer.asked_by() as registry:
        assert await content(registry) == BODY


@pytest.mark.parametrize("first", ["Negotiate", 'Digest realm="x", nonce="y"', 'Basic realm="x"'])
async def test_of_several_challenges_the_one_that_can_be_met_is_met(first: str) -> None:
    """A line each (RFC 9110, section 11.6.1); a token serves whoever has no login."""
    issuer = Issuer()
    serve = issuer.registry.answer

    async def challenged_twice(request: web.BaseRequest) -> web.StreamResponse:
        response = await serve(request)
        if response.status == 401:
            second = response.headers.popone("WWW-Authenticate")
            response.headers.extend([("WWW-Authenticate", first), ("WWW-Authenticate", second)])
        return response

    issuer.registry.answer = challenged_twice
    async with issuer.asked_by() as registry:
        assert await content(registry) == BODY


async def test_a_basic_challenge_gets_the_login_and_then_nobody_is_asked_again() -> None:
    async def basic(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Authorization") == LOGIN.basic():
            return web.Response(body=BODY)
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    async with serving(basic) as server:
        async with registry_at(server.url, LOGIN) as registry:
            assert [await content(registry) for _ in range(2)] == [BODY] * 2
        assert [asked.authorization for asked in server.asked] == [None, LOGIN.basic(), LOGIN.basic()]
        async with registry_at(server.url) as registry:
            with pytest.raises(UpstreamUnauthorized, match="configure username and password_file"):
                await content(registry)
