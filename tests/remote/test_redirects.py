"""Redirects: to object stores without the login, back to the registry with it, never into the site's network."""

import socket

import pytest
from aiohttp import ClientSession, TCPConnector, web
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from edgeproxy.oci.errors import Unavailable
from tests.remote.scripted import BODY, LOGIN, PINNED, Scripted, always, content, registry_at, serving

HERE = f"/v2/team/app/blobs/{PINNED.digest}"


class Public(AbstractResolver):
    """Every name is this machine, so that a registry on the loopback can have a public one."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)
        return [found]

    async def close(self) -> None:
        pass


def public_session() -> ClientSession:
    return ClientSession(connector=TCPConnector(resolver=Public()), auto_decompress=False)


def leading(to: str, status: int = 307) -> Scripted:
    """A registry that wants a Basic login, and then sends whoever has it elsewhere."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="here"'})
        if request.path == "/elsewhere":
            return web.Response(body=BODY)
        return web.Response(status=status, headers={"Location": to})

    return Scripted(answer)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_another_origin_gets_the_range_but_no_login(status: int) -> None:
    async with serving(always(206, BODY[7:], {"Content-Range": "bytes 7-19/20"})) as store:
        front = leading(f"{store.url}/bucket/x", status)
        async with front.listening() as url, registry_at(url, LOGIN) as registry:
            assert await content(registry, 7) == BODY[7:]
    assert [asked.authorization for asked in front.asked] == [None, LOGIN.basic()]
    (asked,) = store.asked
    assert (asked.method, asked.target, asked.headers["Range"]) == ("GET", "/bucket/x", "bytes=7-")
    assert asked.authorization is None
    assert asked.headers["CDN-Loop"] == "this-proxy"


@pytest.mark.parametrize("to", ["/elsewhere", "../../../../elsewhere"])
async def test_the_registry_itself_gets_the_login_again(to: str) -> None:
    async with leading(to).listening() as url, registry_at(url, LOGIN) as registry:
        assert await content(registry) == BODY


async def test_a_head_stays_a_head() -> None:
    async with (
        serving(always(body=BODY)) as store,
        serving(always(303, headers={"Location": str(store.url)})) as front,
        registry_at(front.url) as registry,
    ):
        assert (await registry.stat("blobs", PINNED)).size == len(BODY)
    assert [asked.method for asked in store.asked] == ["HEAD"]


async def test_a_signed_address_is_asked_for_as_it_was_signed() -> None:
    signed = "/bucket/sha256%3Aab%2Fc?sig=a%2Fb%2B%3D&at=2024-01-01T00%3A00%3A00Z&X=%7E"
    async with (
        serving(always(body=BODY)) as store,
        serving(always(307, headers={"Location": f"{str(store.url).rstrip('/')}{signed}"})) as front,
        registry_at(front.url) as registry,
    ):
        assert await content(registry) == BODY
    assert store.asked[0].target == signed


async def test_a_registry_may_lead_on_five_times_and_no_further() -> None:
    left = [5]

    async def on(request: web.BaseRequest) -> web.StreamResponse:
        if not left[0]:
            return web.Response(body=BODY)
        left[0] -= 1
        return web.Response(status=307, headers={"Location": f"/step{left[0]}"})

    async with serving(on) as front, registry_at(front.url) as registry:
        assert await content(registry) == BODY
        left[0] = 6
        with pytest.raises(Unavailable, match="status 307"):
            await content(registry)


@pytest.mark.parametrize("to", ["http://[", "http://a:99999/", "ftp://a/b", "file:///etc/passwd", "mailto:a"])
async def test_an_address_that_is_none_is_the_registrys_failure(to: str) -> None:
    async with serving(always(307, headers={"Location": to})) as front, registry_at(front.url) as registry:
        with pytest.raises(Unavailable):
            await content(registry)


async def test_a_redirect_to_nowhere_is_the_registrys_failure() -> None:
    async with serving(always(307)) as front, registry_at(front.url) as registry:
        with pytest.raises(Unavailable):
            await content(registry)


async def test_a_public_registry_does_not_lead_into_the_network() -> None:
    async with (
        serving(always(body=BODY)) as inside,
        serving(always(307, headers={"Location": f"{inside.url}/x"})) as front,
    ):
        url = URL(f"http://public.test:{front.url.port}")
        async with registry_at(url, session=public_session()) as registry:
            with pytest.raises(Unavailable, match="inside this network"):
                await content(registry)
    assert (len(front.asked), inside.asked) == (1, [])


async def test_nor_under_a_name_in_capitals() -> None:
    async with serving(always(body=BODY)) as inside:
        to = f"HTTP://LOCALHOST:{inside.url.port}/x%3Ay"
        async with serving(always(307, headers={"Location": to})) as front:
            url = URL(f"http://public.test:{front.url.port}")
            async with registry_at(url, session=public_session()) as registry:
                with pytest.raises(Unavailable, match="inside this network"):
                    await content(registry)
    assert inside.asked == []


async def test_each_step_of_the_way_is_looked_at() -> None:
    async with serving(always(body=BODY)) as inside, serving(always(307, headers={"Location": str(inside.url)})) as cdn:
        hop = f"http://cdn.test:{cdn.url.port}/y"
        async with serving(always(307, headers={"Location": hop})) as front:
            url = URL(f"http://public.test:{front.url.port}")
            async with registry_at(url, session=public_session()) as registry:
                with pytest.raises(Unavailable, match="inside this network"):
                    await content(registry)
    assert (len(cdn.asked), inside.asked) == (1, [])


async def test_a_secret_in_an_address_is_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/blob?signature=very-secret"
    for to in (nobody, "http://:0/?signature=very-secret", "ftp://a/?signature=very-secret"):
        async with serving(always(307, headers={"Location": to})) as front, registry_at(front.url) as registry:
            with pytest.raises(Unavailable) as caught:
                await content(registry)
        assert "very-secret" not in caught.value.message + caplog.text
