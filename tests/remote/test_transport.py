"""Proxies on the way, and certificates."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from yarl import URL

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import Unavailable
from edgeproxy.remote.registry import Registry, Timeouts, new_session
from edgeproxy.remote.transport import CertificateInvalid, Proxies, Proxy, ProxyInvalid, Transport, tls
from tests.parts.authorities import Certificates, certificates, openssl
from tests.parts.processes import need
from tests.parts.tunnels import Tunnels
from tests.remote.scripted import BODY, always, content, serving


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://a.test", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https://a.test", "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128"}, "http://a.test", None),
        ({"https_proxy": "http://q", "HTTPS_PROXY": "http://p"}, "https://a.test", "http://q"),
        ({"HTTPS_PROXY": "p:3128"}, "https://a.test", "http://p:3128"),
        ({"HTTPS_PROXY": ""}, "https://a.test", None),
        ({"HTTPS_PROXY": "http://p", "https_proxy": ""}, "https://a.test", None),
        ({"HTTPS_PROXY": "http://p", "NO_PROXY": "::1"}, "https://[::1]:5000", None),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "a.test"}, "http://a.test", None),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "a.test"}, "http://b.a.test:5000", None),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": ".a.test, b.test"}, "http://b.test", None),
        ({"HTTP_PROXY": "http://p", "no_proxy": "*"}, "http://b.test", None),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "a.test:5000"}, "http://a.test", "http://p"),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "127.0.0.1"}, "http://127.0.0.1:5000", None),
    ],
)
def test_the_environment_says_who_stands_between(environment: dict[str, str], url: str, proxy: str | None) -> None:
    assert Proxies(environment).of(URL(url)) == (Proxy(URL(proxy)) if proxy else None)


def test_a_login_at_the_proxy_is_kept_apart_from_its_address() -> None:
    found = Proxies({"HTTPS_PROXY": "http://me:h%40dden@proxy.test:3128"}).of(URL("https://a.test"))
    assert found == Proxy(URL("http://proxy.test:3128"), Credentials("me", "h@dden").basic())
    assert found.authorization not in repr(found)


@pytest.mark.parametrize(
    "value", ["socks5://me:hidden@p", "http://me:hidden@[p", "http://me:hidden@p:99999", "http://", "me:hidden@p:1x"]
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy"])
def test_what_is_no_proxy_is_told_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(ProxyInvalid, match=f"{name} names no proxy that speaks HTTP: write it as in") as caught:
        Proxies({name: value})
    assert "hidden" not in str(caught.value)


async def test_requests_go_through_the_proxy() -> None:
    async with serving(always(body=BODY)) as proxy, new_session(Timeouts()) as session:
        url = URL("http://registry.test:5000")
        transport = Transport(
            session, url, Proxies({"HTTP_PROXY": str(proxy.url.with_user("me").with_password("hidden"))})
        )
        assert await content(Registry("above", url, transport, None, "this-proxy", Timeouts())) == BODY
    assert proxy.asked[0].headers["Proxy-Authorization"] == Credentials("me", "hidden").basic()
    assert proxy.asked[0].target.startswith("http://registry.test:5000/v2/")


async def test_a_token_server_and_a_redirect_are_reached_through_the_proxy_too() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if "/token" in request.raw_path:
            return web.json_response({"token": "a"})
        if "/cdn" in request.raw_path:
            return web.Response(body=BODY)
        if "Authorization" not in request.headers:
            challenge = {"WWW-Authenticate": 'Bearer realm="http://auth.test/token"'}
            return web.Response(status=401, headers=challenge)
        return web.Response(status=307, headers={"Location": "http://cdn.test/cdn"})

    async with serving(answer) as proxy, new_session(Timeouts()) as session:
        url = URL("http://registry.test:5000")
        transport = Transport(session, url, Proxies({"HTTP_PROXY": str(proxy.url)}))
        assert await content(Registry("above", url, transport, None, "this-proxy", Timeouts())) == BODY
    hosts = [URL(each.target).host for each in proxy.asked]
    assert hosts == ["registry.test", "auth.test", "registry.test", "cdn.test"]


@pytest.mark.parametrize("password", ["hidden", "wrong-one"])
async def test_encrypted_requests_go_through_a_tunnel(signed: Certificates, password: str) -> None:
    """With the private authority of the upstream, and with a login at the proxy that nobody else gets to see."""
    tunnels = Tunnels("me", "hidden")
    async with tunnels, encrypted(signed) as (url, requests):
        proxies = Proxies({"HTTPS_PROXY": f"http://me:{password}@127.0.0.1:{tunnels.port}"})
        async with new_session(Timeouts()) as session:
            transport = Transport(session, url, proxies, tls(signed.authority))
            registry = Registry("above", url, transport, None, "this-proxy", Timeouts())
            if password == "hidden":
                assert await content(registry) == BODY
                assert not [each for each in requests if "Proxy-Authorization" in each.headers]
            else:
                with pytest.raises(Unavailable, match="407") as caught:
                    await content(registry)
                assert password not in caught.value.message
    assert set(tunnels.asked) == {f"CONNECT 127.0.0.1:{url.port}"}


# certificates


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need("openssl")
    return certificates(tmp_path_factory.mktemp("certificates"))


@asynccontextmanager
async def encrypted(signed: Certificates, *, curious: bool = False) -> AsyncIterator[tuple[URL, list[web.BaseRequest]]]:
    """A registry of one blob, and what it was asked; `curious` ones want to see a certificate of their authority."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(signed.authority))
    server.load_cert_chain(signed.certificate, signed.key)
    server.verify_mode = ssl.CERT_REQUIRED if curious else ssl.CERT_NONE
    requests: list[web.BaseRequest] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        requests.append(request)
        return web.Response(body=BODY)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server).start()
        yield URL(f"https://127.0.0.1:{runner.addresses[0][1]}"), requests
    finally:
        await runner.cleanup()


async def ask(signed: Certificates, trusting: ssl.SSLContext | None, named: ssl.SSLContext | None = None) -> bytes:
    """A blob from a registry that wants to see a certificate of its own authority where we have one to show."""
    async with encrypted(signed, curious=named is not None) as (url, _), new_session(Timeouts()) as session:
        transport = Transport(session, url, trusting=trusting, named=named)
        return await content(Registry("above", url, transport, None, "this-proxy", Timeouts()))


async def test_a_private_authority_is_believed_where_it_is_named(signed: Certificates) -> None:
    assert await ask(signed, tls(signed.authority)) == BODY
    with pytest.raises(Unavailable, match="certificate"):
        await ask(signed, None)


async def test_a_certificate_of_ours_is_shown(signed: Certificates) -> None:
    named = tls(signed.authority, signed.certificate, signed.key)
    assert await ask(signed, tls(signed.authority), named) == BODY


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (("none.pem", "", ""), "ca_file: .*none.pem cannot be used: No such file or directory; name a PEM file"),
        ((".", "", ""), "ca_file: .* cannot be used: Is a directory"),
        (("ca.key", "", ""), "ca_file: .*ca.key cannot be used: "),
        (("ca.pem", "none.pem", ""), "client_cert: .*none.pem cannot be used: No such file"),
        (("ca.pem", "names", ""), "client_cert: .*names cannot be used: "),
        (("ca.pem", "server.pem", ""), "client_cert: .*server.pem cannot be used: .* and its key"),
        (("", "server.pem", "none.key"), "client_key: .*none.key cannot be used: No such file"),
        (("", "server.pem", "ca.key"), "client_cert: .*server.pem cannot be used: KEY_VALUES_MISMATCH"),
        (("", "server.pem", "locked.key"), "client_cert: .*server.pem cannot be used: .*, which has no password"),
    ],
)
def test_what_is_no_certificate_is_told_with_its_key(
    signed: Certificates, files: tuple[str, str, str], told: str
) -> None:
    locked = ("rsa", "-in", signed.key, "-aes256", "-passout", "pass:hidden", "-out", "locked.key")
    openssl(*locked, inside=signed.authority.parent)
    with pytest.raises(CertificateInvalid, match=told):
        tls(*(signed.authority.parent / name if name else None for name in files))
