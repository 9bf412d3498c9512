"""The pull API on a raw socket: what real clients send, and what they should not."""

import asyncio
import json
import logging
import socket
import struct

import pytest

from edgeproxy.oci.digest import Digest
from tests.api.conftest import HERE, Proxy
from tests.fakes.shelf import Fault
from tests.parts.processes import wait_until

TLS_CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(200))
Parsed = tuple[int, dict[str, str], bytes]


def request(target: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: edge", *fields, "", ""]).encode()


async def response(reader: asyncio.StreamReader, *, head_only: bool = False) -> Parsed:
    """One answer: status, header fields in lower case, body."""
    section = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).decode("latin-1")
    first, *lines = section.strip().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = b"" if head_only else await reader.readexactly(int(fields.get("content-length", 0)))
    return int(first.split()[1]), fields, body


def code_of(body: bytes) -> str:
    return str(json.loads(body)["errors"][0]["code"])


async def test_a_tls_handshake_is_answered_at_once(proxy: Proxy) -> None:
    said = await proxy.say(TLS_CLIENT_HELLO)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["errors"]


async def test_hits_and_misses_on_one_connection_in_order(proxy: Proxy) -> None:
    """Hits in memory take a way of their own: whatever comes before or behind them, answers keep their order."""
    image = proxy.shelf.image(HERE, "1.0", [b"one", b"two"])
    targets = [f"blobs/{Digest.of(b'one')}", "manifests/1.0", f"blobs/{Digest.of(b'two')}", f"manifests/{image.digest}"]
    reader, writer = await proxy.open()
    expected = [Digest.of(b"one"), image.digest, Digest.of(b"two"), image.digest]
    for _ in ("cold", "warm"):
        writer.write(b"".join(request(f"/v2/team/app/{target}") for target in targets))
        answers = [await response(reader) for _ in targets]
        assert [Digest.of(body) for _, _, body in answers] == expected
    for target, digest in zip(targets, expected, strict=True):
        writer.write(request(f"/v2/team/app/{target}"))
        status, fields, body = await response(reader)
        assert (status, Digest.of(body)) == (200, digest)
        assert fields["cache-status"].startswith("edgeproxy; ")
    writer.close()


async def test_head_then_get_on_one_connection(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0")
    reader, writer = await proxy.open()
    for _ in ("cold", "warm", "warm"):
        writer.write(request("/v2/team/app/manifests/1.0", method="HEAD"))
        _, asked, _ = await response(reader, head_only=True)
        writer.write(request("/v2/team/app/manifests/1.0"))
        _, got, body = await response(reader)
        assert asked["content-length"] == got["content-length"] == str(len(body))
        assert asked["docker-content-digest"] == got["docker-content-digest"]
    writer.close()


async def test_accept_may_come_in_several_lines(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0")
    lines = ["Accept: application/vnd.oci.image.index.v1+json", "Accept: application/vnd.oci.image.manifest.v1+json"]
    said = await proxy.say(request("/v2/team/app/manifests/1.0", *lines, "Connection: close"))
    assert said.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("version", "field"), [("1.0", "X: y"), ("1.1", "Connection: close")])
async def test_a_client_that_wants_one_answer_gets_one(proxy: Proxy, version: str, field: str) -> None:
    proxy.shelf.image(HERE, "1.0", [b"layer"])
    for _ in ("cold", "warm"):
        said = await proxy.say(request(f"/v2/team/app/blobs/{Digest.of(b'layer')}", field, version=version))
        assert said.partition(b"\r\n\r\n")[2] == b"layer"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (request("/nowhere", "Connection: close"), 404, "NOT_FOUND"),
        (request("/v2/a/blobs/uploads/", "Connection: close", method="POST"), 405, "UNSUPPORTED"),
        (request("/v2/a/manifests/1", "Connection: close", method="DELETE"), 405, "UNSUPPORTED"),
        (request("/v2/a/manifests/1?ns=evil.test", "Connection: close"), 403, "DENIED"),
        (request("/v2/A/manifests/1", "Connection: close"), 400, "NAME_INVALID"),
        (request("/v2/", f"X: {'y' * 20_000}"), 400, "UNSUPPORTED"),
        (b"nonsense\r\n\r\n", 400, "UNSUPPORTED"),
        (b"GET /v2/ HTTP/9.9\r\n\r\n", 400, "UNSUPPORTED"),
    ],
)
async def test_every_refusal_is_oci_json(proxy: Proxy, sent: bytes, status: int, code: str) -> None:
    head, _, body = (await proxy.say(sent)).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Type: application/json" in head
    assert code_of(body) == code


async def test_a_request_that_comes_round_again_is_refused(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0")
    name = proxy.daemon.layout.name
    for loop, status in ((f"other, {name}", 508), ("other", 200)):
        said = await proxy.say(request("/v2/team/app/manifests/1.0", f"CDN-Loop: {loop}", "Connection: close"))
        assert said.startswith(f"HTTP/1.1 {status} ".encode())


async def test_a_bug_is_told_as_json_and_logged(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """The store's directory is no directory any more: a failing disk is not a miss."""
    proxy.shelf.image(HERE, "1.0", [b"layer"])
    await proxy.say(request(f"/v2/team/app/blobs/{Digest.of(b'layer')}", "Connection: close"))
    await wait_until(lambda: proxy.daemon.catalog.held(Digest.of(b"layer")) is not None, "it is kept")
    proxy.daemon.store.memory.drop(Digest.of(b"layer"))
    proxy.daemon.layout.blobs.rename(proxy.daemon.layout.data / "moved")
    proxy.daemon.layout.blobs.touch()
    said = await proxy.say(request(f"/v2/team/app/blobs/{Digest.of(b'layer')}", "Connection: close"))
    assert said.startswith(b"HTTP/1.1 500 ")
    assert code_of(said.partition(b"\r\n\r\n")[2]) == "UNKNOWN"
    assert any("a bug" in record.message for record in caplog.records)


async def test_a_client_that_resets_is_no_error(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    body = bytes(5_000_000)
    pinned = proxy.shelf.blob(HERE, body)
    hold = asyncio.Event()
    proxy.shelf.faults.append(Fault("open", pinned.digest, hold=hold, at=1_000_000))
    with caplog.at_level(logging.WARNING):
        reader, writer = await proxy.open()
        writer.write(request(f"/v2/team/app/blobs/{pinned.digest}"))
        await reader.readexactly(1000)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        hold.set()
        await wait_until(lambda: proxy.daemon.catalog.held(pinned.digest) is not None, "the download goes on")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_slow_reader_of_a_hit_gets_all_of_it(proxy: Proxy) -> None:
    """More than the kernel takes at once: what is left goes the transport's way."""
    body = bytes(range(250)) * 1000
    pinned = proxy.shelf.blob(HERE, body)
    target = f"/v2/team/app/blobs/{pinned.digest}"
    await proxy.say(request(target, "Connection: close"))
    await wait_until(lambda: proxy.daemon.store.recall(pinned.digest) is not None, "it is in memory")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", proxy.port))
        await loop.sock_sendall(client, request(target) * 8)
        received = bytearray()
        while received.count(b"HTTP/1.1 200 OK") < 8 or not received.endswith(body):
            piece = await asyncio.wait_for(loop.sock_recv(client, 1000), 30)
            assert piece, "closed early"
            received += piece
    assert received.count(body) == 8
