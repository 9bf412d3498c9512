"""Tokens and logins that end: what is renewed, when, how often, and by whom."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from yarl import URL

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import TooManyRequests, Unavailable, UpstreamUnauthorized
from edgeproxy.remote.logins import Issued, Login
from edgeproxy.remote.registry import Registry, Timeouts, new_session
from edgeproxy.remote.tokens import Tokens
from edgeproxy.remote.transport import Transport
from tests.remote.scripted import BODY, LOGIN, SCOPE, Scripted, always, content, registry_at, serving, turns


@dataclass
class Guarded:
    """A registry that refuses with `status`, and its token server: its tokens hold until the password changes."""

    status: int = 401
    password: str = "first"
    life: float = 300.0
    valid: set[str] = field(default_factory=set)
    issued: int = 0
    forms: list[dict[str, object]] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/token":
            return await self._token(request)
        authorization = request.headers.get("Authorization", "")
        if authorization.removeprefix("Bearer ") in self.valid:
            return web.Response(body=BODY)
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{request.host}/token",service="registry.test"'}
        return web.Response(status=self.status if authorization else 401, headers=challenge)

    async def _token(self, request: web.BaseRequest) -> web.StreamResponse:
        self.forms.append(dict(await request.post()))
        if request.method == "GET" and request.headers.get("Authorization") != Credentials("me", self.password).basic():
            return web.Response(status=401)
        self.issued += 1
        self.valid.add(f"token-{self.issued}")
        return web.json_response({"token": f"token-{self.issued}", "expires_in": self.life})

    def rotate(self, password: str) -> None:
        """From now on another password, and no token of before."""
        self.password = password
        self.valid.clear()


@dataclass
class Passwords:
    """A source: the first password until it is asked again."""

    of: Sequence[str] = ("first", "second", "third")
    asked: int = 0

    async def __call__(self) -> Issued:
        self.asked += 1
        await asyncio.sleep(0)
        return Issued(Credentials("me", self.of[self.asked - 1]))


@asynccontextmanager
async def above(url: URL, login: Login | None) -> AsyncIterator[Registry]:
    async with new_session(Timeouts()) as session:
        yield Registry("registry.test", url, Transport(session, url), login, "this-proxy", Timeouts())


@pytest.mark.parametrize("status", [401, 403])
async def test_all_who_are_refused_at_once_go_on_with_one_fresh_login(status: int) -> None:
    """A blob comes over many connections, and the login of all of them ends at the same time."""
    guarded, source = Guarded(status), Passwords()
    async with serving(guarded.answer) as server, above(server.url, Login(source)) as registry:
        assert await content(registry) == BODY
        guarded.rotate("second")
        assert await asyncio.gather(*(content(registry) for _ in range(12))) == [BODY] * 12
    assert (source.asked, guarded.issued) == (2, 2)


async def test_a_request_that_is_refused_late_goes_on_with_what_others_have_renewed() -> None:
    guarded, source = Guarded(403), Passwords()
    late, go = asyncio.Event(), asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = await guarded.answer(request)
        if response.status == 403 and not late.is_set():
            late.set()
            await go.wait()
        return response

    async with serving(answer) as server, above(server.url, Login(source)) as registry, asyncio.timeout(20):
        assert await content(registry) == BODY
        guarded.rotate("second")
        first = asyncio.create_task(content(registry))
        await late.wait()
        assert await content(registry) == BODY
        go.set()
        assert await first == BODY
    assert (source.asked, guarded.issued) == (2, 2)


@pytest.mark.parametrize("status", [401, 403])
async def test_who_is_refused_again_is_refused_after_one_more_attempt(status: int) -> None:
    server, source = Scripted(always(status)), Passwords()

    async def refused(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"WWW-Authenticate": 'Basic realm="x"'})

    server.answer = refused
    async with server.listening() as url, above(url, Login(source)) as registry:
        with pytest.raises(UpstreamUnauthorized, match=f"status {status}"):
            await content(registry)
        asked = len(server.asked)
        with pytest.raises(UpstreamUnauthorized):
            await content(registry)
    assert [each.authorization for each in server.asked[:asked]] == {
        401: [None, Credentials("me", "first").basic(), None, Credentials("me", "second").basic()],
        403: [None, None],
    }[status]
    assert source.asked == {401: 2, 403: 1}[status], "the second is too soon"


async def test_a_login_that_cannot_be_renewed_says_why() -> None:
    guarded = Guarded(403)

    async def once() -> Issued:
        if guarded.issued:
            raise UpstreamUnauthorized("docker-credential-mine fails with exit code 1: run it by hand to see why")
        return Issued(Credentials("me", "first"))

    async with serving(guarded.answer) as server, above(server.url, Login(once)) as registry:
        assert await content(registry) == BODY
        guarded.rotate("second")
        with pytest.raises(UpstreamUnauthorized, match="docker-credential-mine fails"):
            await content(registry)


async def test_an_identity_token_is_posted() -> None:
    guarded = Guarded()

    async def source() -> Issued:
        return Issued(Credentials("<token>", identity_token="hidden"))

    async with serving(guarded.answer) as server, above(server.url, Login(source)) as registry:
        assert await content(registry) == BODY
    asked = next(each for each in server.asked if each.target.startswith("/token"))
    assert (asked.method, asked.target, asked.authorization) == ("POST", "/token", None)
    assert guarded.forms[0] == {
        "grant_type": "refresh_token",
        "client_id": "edgeproxy",
        "service": "registry.test",
        "scope": SCOPE,
        "refresh_token": "hidden",
    }


async def test_an_identity_token_is_no_password() -> None:
    async def source() -> Issued:
        return Issued(Credentials("<token>", identity_token="hidden"))

    answer = always(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    async with serving(answer) as server, above(server.url, Login(source)) as registry:
        with pytest.raises(UpstreamUnauthorized, match="wants a name and a password, not an identity token") as caught:
            await content(registry)
    assert "hidden" not in caught.value.message
    assert not any(each.authorization for each in server.asked)


@pytest.mark.parametrize(("text", "seconds"), [("17", 17.0), ("", None), ("soon", None)])
async def test_a_token_server_says_when_to_ask_again(text: str, seconds: float | None) -> None:
    async with serving(always(429, headers={"Retry-After": text})) as tokens:
        challenge = always(401, headers={"WWW-Authenticate": f'Bearer realm="{tokens.url}"'})
        async with serving(challenge) as server, registry_at(server.url, LOGIN) as registry:
            with pytest.raises(TooManyRequests, match="gives no token") as caught:
                await content(registry)
    assert caught.value.retry_after == seconds
    assert len(tokens.asked) == 1


# by the time


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def tokens_of(server: Scripted, time: Time) -> AsyncIterator[Tokens]:
    async with new_session(Timeouts()) as session:
        yield Tokens(Transport(session, server.url), server.url, Login(Passwords()), 5.0, time)


def challenges(server: Scripted) -> list[str]:
    return [f'Bearer realm="{server.url}/token"']


async def until(tokens: Tokens, wanted: str | None) -> None:
    async with asyncio.timeout(20):
        while tokens.authorization(SCOPE) != wanted:
            await turns()


async def test_a_token_is_asked_for_ahead_of_the_end_of_the_last_one() -> None:
    guarded, time = Guarded(life=100.0), Time()
    async with serving(guarded.answer) as server, tokens_of(server, time) as tokens:
        assert await tokens.answer(challenges(server), SCOPE, None) == "Bearer token-1"
        time.now = 79.0
        assert tokens.authorization(SCOPE) == "Bearer token-1"
        await turns()
        assert guarded.issued == 1
        time.now = 80.0
        assert tokens.authorization(SCOPE) == "Bearer token-1", "nobody waits"
        await until(tokens, "Bearer token-2")
        time.now = 80.0 + 79.0
        assert tokens.authorization(SCOPE) == "Bearer token-2"
    assert guarded.issued == 2


async def test_a_token_that_cannot_be_renewed_is_sent_nearly_to_its_end() -> None:
    guarded, time = Guarded(life=1000.0), Time()
    async with serving(guarded.answer) as server, tokens_of(server, time) as tokens:
        assert await tokens.answer(challenges(server), SCOPE, None) == "Bearer token-1"
        server.answer = always(503)
        for time.now in (800.0, 801.0, 809.0, 810.0, 949.0):
            assert tokens.authorization(SCOPE) == "Bearer token-1"
            await turns()
        time.now = 950.0
        assert tokens.authorization(SCOPE) is None
        with pytest.raises(Unavailable):
            await tokens.answer(challenges(server), SCOPE, None)
    assert len(server.asked) == 1 + 3 + 1, "a token server that fails has a rest"


async def test_a_token_that_lives_for_a_moment_is_used_for_that_moment() -> None:
    guarded, time = Guarded(life=5.0), Time()
    async with serving(guarded.answer) as server, tokens_of(server, time) as tokens:
        assert await tokens.answer(challenges(server), SCOPE, None) == "Bearer token-1"
        time.now = 4.5
        assert tokens.authorization(SCOPE) == "Bearer token-1"
        time.now = 5.0
        assert tokens.authorization(SCOPE) is None


async def test_a_refusal_of_an_old_token_is_worth_another_attempt_without_a_login_too() -> None:
    guarded, time = Guarded(), Time()
    async with serving(guarded.answer) as server, new_session(Timeouts()) as session:
        tokens = Tokens(Transport(session, server.url), server.url, None, 5.0, time)
        server.answer = always(body=b'{"token": "a", "expires_in": 300}')
        await tokens.answer(challenges(server), SCOPE, None)
        assert not await tokens.renew(SCOPE, tokens.renewals), "it is of just now"
        time.now = 10.0
        since = tokens.renewals
        assert [await tokens.renew(SCOPE, since), await tokens.renew(SCOPE, since)] == [True, True]
        assert tokens.authorization(SCOPE) is None
        assert not await tokens.renew(SCOPE, tokens.renewals)


async def test_who_is_challenged_takes_what_others_have_been_given_meanwhile() -> None:
    guarded, time = Guarded(), Time()
    async with serving(guarded.answer) as server, tokens_of(server, time) as tokens:
        for refused in (None, None, "Bearer token-0"):
            assert await tokens.answer(challenges(server), SCOPE, refused) == "Bearer token-1"
        assert await tokens.answer(challenges(server), SCOPE, "Bearer token-1") == "Bearer token-2"
    assert guarded.issued == 2


async def test_a_login_that_is_still_the_same_keeps_the_tokens_of_other_repositories() -> None:
    """Some content is not for us, and is asked for again and again."""
    guarded, time = Guarded(), Time()
    async with serving(guarded.answer) as server, new_session(Timeouts()) as session:
        login = Login(Passwords(of=["first"] * 9 + ["second"]), time)
        tokens = Tokens(Transport(session, server.url), server.url, login, 5.0, time)
        for scope in (SCOPE, "another"):
            await tokens.answer(challenges(server), scope, None)
        for _ in range(8):
            time.now += 10.0
            assert await tokens.renew(SCOPE, tokens.renewals)
            assert (tokens.authorization(SCOPE), tokens.authorization("another")) == (None, "Bearer token-2")
        time.now += 10.0
        assert await tokens.renew(SCOPE, tokens.renewals)
        assert tokens.authorization("another") is None, "its login is no more"
