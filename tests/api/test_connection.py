"""Connections of clients as they are: what they say first, in how many pieces, in which order, and how they leave."""

import asyncio
import logging
import socket
import struct

import pytest

from edgeproxy.oci.digest import Digest
from tests.api.conftest import HERE, START, Proxy
from tests.api.wire import request, response, responses
from tests.fakes.shelf import Fault
from tests.parts.processes import wait_until

TLS_CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(200))
MANIFEST = "/v2/team/app/manifests/1.0"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close is a reset."""


async def test_a_tls_handshake_is_answered_at_once(proxy: Proxy) -> None:
    """The client waits with its side open: whoever waits for a whole line keeps it waiting."""
    (answer,) = await responses(await proxy.say(TLS_CLIENT_HELLO))
    assert (answer.status, answer.code) == (400, "UNSUPPORTED")
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["connection"] == "close"


async def test_hits_and_misses_on_one_connection_in_order(proxy: Proxy) -> None:
    """Hits in memory take a way of their own: whatever comes before or behind them, answers keep their order."""
    image = proxy.shelf.image(HERE, "1.0", [b"one", b"two"])
    targets = [f"blobs/{Digest.of(b'one')}", "manifests/1.0", f"blobs/{Digest.of(b'two')}", f"manifests/{image.digest}"]
    expected = [Digest.of(b"one"), image.digest, Digest.of(b"two"), image.digest]
    async with proxy.connected() as (reader, writer):
        for _ in ("cold", "warm"):
            writer.write(b"".join(request(f"/v2/team/app/{target}") for target in targets))
            answers = [await response(reader) for _ in targets]
            assert [Digest.of(answer.body) for answer in answers] == expected
        await proxy.keeps(b"one", b"two")
        proxy.handled.clear()
        for target, digest in zip(targets, expected, strict=True):
            writer.write(request(f"/v2/team/app/{target}"))
            answer = await response(reader)
            assert (answer.status, Digest.of(answer.body)) == (200, digest)
            assert answer.fields["cache-status"].startswith("edgeproxy; hit")
    assert proxy.handled == []


async def test_head_then_get_on_one_connection(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0")
    async with proxy.connected() as (reader, writer):
        for _ in ("cold", "warm", "warm"):
            writer.write(request(MANIFEST, method="HEAD"))
            asked = await response(reader, head_only=True)
            writer.write(request(MANIFEST))
            got = await response(reader)
            assert asked.fields["content-length"] == got.fields["content-length"] == str(len(got.body))
            assert asked.fields["docker-content-digest"] == got.fields["docker-content-digest"]


async def test_a_request_may_come_byte_by_byte(proxy: Proxy) -> None:
    image = proxy.shelf.image(HERE, "1.0")
    async with proxy.connected() as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in ("cold", "warm"):
            for byte in request(MANIFEST):
                writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert Digest.of((await response(reader)).body) == image.digest


async def test_accept_may_come_in_several_lines(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0")
    lines = ["Accept: application/vnd.oci.image.index.v1+json", "Accept: application/vnd.oci.image.manifest.v1+json"]
    assert (await proxy.ask(MANIFEST, *lines)).status == 200


@pytest.mark.parametrize(("version", "field"), [("1.0", "X: y"), ("1.1", "Connection: close")])
async def test_a_client_that_wants_one_answer_gets_one(proxy: Proxy, version: str, field: str) -> None:
    image = proxy.shelf.image(HERE, "1.0")
    for _ in ("cold", "warm"):
        (answer,) = await responses(await proxy.say(request(MANIFEST, field, version=version)))
        assert (answer.status, Digest.of(answer.body)) == (200, image.digest)


async def test_a_target_may_be_absolute(proxy: Proxy) -> None:
    """As clients write it that take this for an HTTP proxy."""
    image = proxy.shelf.image(HERE, "1.0")
    for _ in ("cold", "warm"):
        assert Digest.of((await proxy.ask(f"http://edge{MANIFEST}")).body) == image.digest
        assert Digest.of((await proxy.ask_front(f"http://edge{MANIFEST}")).body) == image.digest


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("Content-Length: 3", b"abc"),
        ("Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
        ("Content-Length: 0", b""),
    ],
)
async def test_the_body_of_a_get_is_no_request(proxy: Proxy, field: str, body: bytes) -> None:
    image = proxy.shelf.image(HERE, "1.0")
    async with proxy.connected() as (reader, writer):
        for _ in ("cold", "warm", "warm"):
            writer.write(request(MANIFEST, field, body=body) + request("/v2/"))
            assert Digest.of((await response(reader)).body) == image.digest
            assert (await response(reader)).body == b"{}"


async def test_a_client_that_resets_in_mid_body_is_no_error(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    pinned = proxy.shelf.blob(HERE, bytes(5_000_000))
    hold = asyncio.Event()
    proxy.shelf.faults.append(Fault("open", pinned.digest, hold=hold, at=1_000_000))
    with caplog.at_level(logging.WARNING):
        async with proxy.connected() as (reader, writer):
            writer.write(request(f"/v2/team/app/blobs/{pinned.digest}"))
            await reader.readexactly(1000)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        hold.set()
        await wait_until(lambda: proxy.daemon.catalog.held(pinned.digest) is not None, "the download goes on")
    assert caplog.records == []


async def test_a_client_that_resets_before_its_answer_is_no_error(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests for a hit in memory, read when the connection is gone already."""
    proxy.shelf.image(HERE, "1.0")
    await proxy.ask(MANIFEST)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                client.sendall(request(MANIFEST))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            assert (await proxy.ask("/v2/")).status == 200
    assert caplog.records == []


async def test_a_slow_reader_of_a_hit_gets_all_of_it(proxy: Proxy) -> None:
    """More than the kernel takes at once: what is left goes the transport's way."""
    body = bytes(range(250)) * 1000
    pinned = proxy.shelf.blob(HERE, body)
    target = f"/v2/team/app/blobs/{pinned.digest}"
    await proxy.ask(target)
    await proxy.keeps(body)
    proxy.handled.clear()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", proxy.port))
        for _ in range(4):
            await loop.sock_sendall(client, request(target))
            received = bytearray()
            while len(received.partition(b"\r\n\r\n")[2]) < len(body):
                piece = await asyncio.wait_for(loop.sock_recv(client, 4000), 30)
                assert piece, "closed early"
                received += piece
            assert received.endswith(b"\r\n\r\n" + body)
    assert proxy.handled == []


@pytest.mark.parametrize("targets", [["/v2/"], ["/v2/", MANIFEST], [MANIFEST]])
async def test_an_idle_connection_is_ended_whoever_answered_last(proxy: Proxy, targets: list[str]) -> None:
    proxy.shelf.image(HERE, "1.0")
    await proxy.ask(MANIFEST)
    async with proxy.connected() as (reader, writer):
        for number, target in enumerate(targets):
            proxy.server.sweep(START + 100 * number)
            writer.write(request(target))
            assert (await response(reader)).status == 200
        await proxy.at_rest()
        proxy.server.sweep(proxy.server.now + 119)
        writer.write(request("/v2/"))
        assert (await response(reader)).status == 200
        await proxy.at_rest()
        proxy.server.sweep(proxy.server.now + 121)
        assert await asyncio.wait_for(reader.read(), 5) == b""
