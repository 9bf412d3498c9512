"""Proxies on the way, and certificates."""

import ssl

import pytest
from aiohttp import web
from yarl import URL

from edgeproxy.oci.errors import Unavailable
from edgeproxy.remote.registry import Registry, Timeouts, new_session
from edgeproxy.remote.transport import CertificateInvalid, Proxies, Transport, tls
from tests.parts.processes import need
from tests.parts.tokens import Certificates, certificates
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
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "a.test"}, "http://a.test", None),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "a.test"}, "http://b.a.test:5000", None),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": ".a.test, b.test"}, "http://b.test", None),
        ({"HTTP_PROXY": "http://p", "no_proxy": "*"}, "http://b.test", None),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "a.test:5000"}, "http://a.test", "http://p"),
        ({"HTTP_PROXY": "http://p", "NO_PROXY": "127.0.0.1"}, "http://127.0.0.1:5000", None),
    ],
)
def test_the_environment_says_who_stands_between(environment: dict[str, str], url: str, proxy: str | None) -> None:
    assert Proxies(environment).of(URL(url)) == (URL(proxy) if proxy else None)


async def test_requests_go_through_the_proxy() -> None:
    async with serving(always(body=BODY)) as proxy, new_session(Timeouts()) as session:
        url = URL("http://registry.test:5000")
        transport = Transport(session, url, Proxies({"HTTP_PROXY": str(proxy.url)}))
        assert await content(Registry("above", url, transport, None, "this-proxy", Timeouts())) == BODY
    assert proxy.asked[0].target.startswith("http://registry.test:5000/v2/")


# certificates


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need("openssl")
    return certificates(tmp_path_factory.mktemp("certificates"))


async def ask(signed: Certificates, trusting: ssl.SSLContext | None, named: ssl.SSLContext | None = None) -> bytes:
    """A blob from a registry that wants to see a certificate of its own authority where we have one to show."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(signed.authority))
    server.load_cert_chain(signed.certificate, signed.key)
    server.verify_mode = ssl.CERT_REQUIRED if named else ssl.CERT_NONE

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=BODY)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server).start()
        url = URL(f"https://127.0.0.1:{runner.addresses[0][1]}")
        async with new_session(Timeouts()) as session:
            transport = Transport(session, url, trusting=trusting, named=named)
            return await content(Registry("above", url, transport, None, "this-proxy", Timeouts()))
    finally:
        await runner.cleanup()


async def test_a_private_authority_is_believed_where_it_is_named(signed: Certificates) -> None:
    assert await ask(signed, tls(signed.authority)) == BODY
    with pytest.raises(Unavailable, match="certificate"):
        await ask(signed, None)


async def test_a_certificate_of_ours_is_shown(signed: Certificates) -> None:
    named = tls(signed.authority, signed.certificate, signed.key)
    assert await ask(signed, tls(signed.authority), named) == BODY


def test_what_is_no_certificate_is_named(signed: Certificates) -> None:
    nowhere = signed.authority.with_name("none.pem")
    for ca, cert in ((nowhere, None), (signed.key, None), (signed.authority, nowhere), (signed.authority, signed.key)):
        with pytest.raises(CertificateInvalid, match=str(cert or ca)):
            tls(ca, cert)
