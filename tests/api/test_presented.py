"""Who a connection is of, by the certificate that its client has shown."""

import pytest

from edgeproxy.access.certificates import By
from edgeproxy.api.connection import Connection
from tests.api.conftest import Proxy
from tests.api.wire import request, response
from tests.parts.authorities import Authority, Signed


async def presented(proxy: Proxy) -> str:
    async with proxy.connected() as (reader, writer):
        writer.write(request("/v2/"))
        assert (await response(reader)).status == 200
        *_, connection = proxy.server.connections
        assert isinstance(connection, Connection)
        return connection.presented


@pytest.fixture(scope="session")
def node(authority: Authority) -> Signed:
    return authority.signs("node", "IP:10.0.0.1,URI:spiffe://site/node,DNS:node.test", "/O=edge/CN=node 1")


@pytest.mark.parametrize("proxy", ["TLS"], indirect=True)
@pytest.mark.parametrize(("by", "name"), [("subject", "node 1"), ("san", "spiffe://site/node")])
async def test_a_client_is_who_its_certificate_names(proxy: Proxy, node: Signed, by: By, name: str) -> None:
    proxy.server.exchange(proxy.server.service._replace(identity=by))
    assert await presented(proxy) == ""
    assert proxy.trusting is not None
    proxy.trusting.load_cert_chain(*node)
    assert await presented(proxy) == name


async def test_without_tls_a_client_is_nobody(proxy: Proxy) -> None:
    assert await presented(proxy) == ""
