"""What clients may take, on the wire. Time is what the server is swept with."""

import asyncio
import contextlib
import socket

import pytest

from edgeproxy.oci.digest import Digest
from tests.api.conftest import HERE, START, Proxy
from tests.api.wire import Parsed, request, response, responses
from tests.fakes.shelf import Fault
from tests.parts.processes import wait_until

MANIFEST = "/v2/team/app/manifests/1.0"
SMALL = {"request_line": "2KiB", "header": "4KiB", "header_time": "5s"}
FEW = {"exempt": [], "connections": 5, "connections_per_address": 3}
SELDOM = {"exempt": [], "requests_per_address": 5}
limits_are = pytest.mark.parametrize


def ends(answer: Parsed, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["connection"] == "close"


# sizes


@limits_are("limits", [SMALL])
@pytest.mark.parametrize("cut", [10_000, 700], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (request(f"/v2/{'y' * 2045}"), 414, "TARGET_TOO_LONG"),
        (request("/v2/", f"X: {'y' * 4100}"), 431, "FIELDS_TOO_LARGE"),
        (request("/v2/", f"{'x' * 4100}: y"), 431, "FIELDS_TOO_LARGE"),
        (request("/v2/", *(f"X-{number}: {'y' * 1000}" for number in range(5))), 431, "FIELDS_TOO_LARGE"),
        (request("/v2/", *(f"X-{number}:" for number in range(200))), 431, "FIELDS_TOO_LARGE"),
    ],
    ids=["target", "value", "name", "section", "fields"],
)
async def test_what_is_too_large_is_told_and_the_end(
    proxy: Proxy, cut: int, sent: bytes, status: int, code: str
) -> None:
    async with proxy.connected() as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(sent), cut):
                writer.write(sent[start : start + cut])
                await asyncio.sleep(0)
        ends(await response(reader), status, code)
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert proxy.traffic.errors[code] == 1


@limits_are("limits", [SMALL])
@pytest.mark.parametrize(
    "text",
    [
        request(f"/v2/{'y' * 2000}", f"X: {'y' * 1900}"),
        request("/v2/") * 500,
        request("/v2/", "Content-Length: 60000", body=bytes(60_000)),
        request("/v2/", "Content-Length: 60000", body=bytes(60_000)) * 3,
    ],
    ids=["the longest", "many", "a body", "bodies"],
)
@pytest.mark.parametrize("cut", [2**20, 997])
async def test_what_is_not_too_large_is_answered(proxy: Proxy, text: bytes, cut: int) -> None:
    count = text.count(b"HTTP/1.1")
    async with proxy.connected() as (reader, writer):

        async def speak() -> None:
            for start in range(0, len(text), cut):
                writer.write(text[start : start + cut])
                await writer.drain()
                await asyncio.sleep(0)

        speaking = asyncio.create_task(speak())
        for _ in range(count):
            assert (await response(reader)).status in (200, 404)
        await speaking


@limits_are("limits", [SMALL])
async def test_a_section_grows_no_larger_behind_a_request_that_takes_its_time(proxy: Proxy) -> None:
    fault = Fault("resolve", hold=asyncio.Event())
    proxy.shelf.faults.append(fault)
    assert fault.hold is not None
    async with proxy.connected() as (reader, writer):
        writer.write(request(MANIFEST))
        await asyncio.wait_for(fault.reached.wait(), 10)
        for number in range(5):
            writer.write((f"GET /v2/ HTTP/1.1\r\nX-{number}: " if not number else f"X-{number}: ").encode())
            writer.write(b"y" * 1000 + b"\r\n")
            assert (await proxy.ask("/v2/")).status == 200
        fault.hold.set()
        assert (await response(reader)).status == 404
        ends(await response(reader), 431, "FIELDS_TOO_LARGE")


# times


@limits_are("limits", [SMALL])
@pytest.mark.parametrize("said", [b"", b"G", b"GET /v2/ HTTP/1.1\r\nHost: a\r\n"])
async def test_a_first_request_has_to_be_whole_in_time_from_the_start_on(proxy: Proxy, said: bytes) -> None:
    async with proxy.connected() as (reader, writer):
        writer.write(said)
        await proxy.at_rest(1)
        for second in range(1, 6):
            proxy.server.sweep(START + second)
            writer.write(b"X" if said.endswith(b"\n") else b"")
            assert (await proxy.ask("/v2/")).status == 200
        proxy.server.sweep(START + 6)
        (answer,) = await responses(await asyncio.wait_for(reader.read(), 10))
        ends(answer, 408, "REQUEST_TIMEOUT")
    assert proxy.traffic.errors["REQUEST_TIMEOUT"] == 1


@limits_are("limits", [SMALL])
async def test_a_later_one_from_its_first_byte_on(proxy: Proxy) -> None:
    async with proxy.connected() as (reader, writer):
        writer.write(request("/v2/"))
        assert (await response(reader)).status == 200
        proxy.server.sweep(START + 60)
        writer.write(b"GET /v2/ HTTP/1.1\r\n")
        assert (await proxy.ask("/v2/")).status == 200
        proxy.server.sweep(START + 65)
        writer.write(b"Host: a\r\n\r\n")
        assert (await response(reader)).status == 200
        writer.write(b"GET ")
        assert (await proxy.ask("/v2/")).status == 200
        proxy.server.sweep(START + 71)
        ends(await response(reader), 408, "REQUEST_TIMEOUT")


@limits_are("limits", [SMALL])
async def test_an_answer_that_takes_its_time_is_waited_for(proxy: Proxy) -> None:
    fault = Fault("resolve", hold=asyncio.Event())
    proxy.shelf.faults.append(fault)
    assert fault.hold is not None
    proxy.shelf.image(HERE, "1.0")
    async with proxy.connected() as (reader, writer):
        writer.write(request(MANIFEST) + b"GET /v2/ HTT")
        await asyncio.wait_for(fault.reached.wait(), 10)
        writer.write(b"P/1.1\r\n")
        assert (await proxy.ask("/v2/")).status == 200
        for later in (100, 1000):
            proxy.server.sweep(START + later)
        fault.hold.set()
        assert (await response(reader)).status == 200
        await proxy.at_rest(1)
        proxy.server.sweep(START + 1001)
        writer.write(b"Host: a\r\n\r\n")
        assert (await response(reader)).status == 200


@limits_are("limits", [{"header_time": "200ms"}])
@pytest.mark.parametrize("field", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
async def test_a_body_nobody_asked_for_delays_no_answer_and_is_not_waited_for(proxy: Proxy, field: str) -> None:
    async with proxy.connected() as (reader, writer):
        writer.write(request("/v2/", field))
        assert (await response(reader)).status == 200
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_body_nobody_asked_for_is_not_unpacked(proxy: Proxy) -> None:
    async with proxy.connected() as (reader, writer):
        writer.write(request("/v2/", "Content-Encoding: gzip", "Content-Length: 3", body=b"abc") + request("/v2/"))
        assert [(await response(reader)).status for _ in range(2)] == [200, 200]


@limits_are("limits", [{"stalled": "300ms"}])
async def test_a_client_that_takes_nothing_is_disconnected(proxy: Proxy) -> None:
    body = bytes(20_000_000)
    pinned = proxy.shelf.blob(HERE, body)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", proxy.port))
        await loop.sock_sendall(client, request(f"/v2/team/app/blobs/{pinned.digest}"))
        await wait_until(lambda: len(proxy.server.connections) == 1, "it is connected")
        await wait_until(lambda: not proxy.server.connections, "it is disconnected")
    await proxy.keeps(body)


# how many


@limits_are("limits", [FEW])
async def test_connections_of_an_address_are_so_many(proxy: Proxy) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            reader, writer = await stack.enter_async_context(proxy.connected())
            writer.write(request("/v2/"))
            assert (await response(reader)).status == 200
        answer = await proxy.ask("/v2/")
        ends(answer, 429, "TOOMANYREQUESTS")
        assert answer.fields["retry-after"] == "1"
    await wait_until(lambda: not proxy.server.connections, "all have left")
    assert (await proxy.ask("/v2/")).status == 200
    await wait_until(lambda: not proxy.server.connections, "it has left, too")
    assert len(proxy.server.clients) == 1, "it has spent a request"
    proxy.server.sweep(START + 1)
    assert len(proxy.server.clients) == 0


@limits_are("limits", [{"connections": 5}])
async def test_connections_are_so_many_in_all_whoever_is_exempt(proxy: Proxy) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(5):
            reader, writer = await stack.enter_async_context(proxy.connected())
            writer.write(request("/v2/"))
            assert (await response(reader)).status == 200
        answer = await proxy.ask("/v2/")
        ends(answer, 503, "UNAVAILABLE")
        assert answer.fields["retry-after"] == "1"
    assert len(proxy.server.clients) == 0


@limits_are("limits", [{"connections": 1}])
async def test_who_is_turned_away_is_not_reset(proxy: Proxy) -> None:
    """A reset may take the answer away from a client that has asked and not read yet."""
    async with proxy.connected() as (reader, writer):
        writer.write(request("/v2/"))
        assert (await response(reader)).status == 200
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            client.sendall(request("/v2/"))
            client.setblocking(False)
            said = b""
            while piece := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 10_000), 10):
                said += piece
    (answer,) = await responses(said)
    ends(answer, 503, "UNAVAILABLE")


@limits_are("limits", [FEW])
@pytest.mark.parametrize("proxy", ["TLS"], indirect=True)
async def test_who_says_nothing_counts_before_its_handshake(proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
            silent.setblocking(False)
        await wait_until(lambda: len(proxy.server.clients) == 1, "they are here")
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", proxy.port)) as client:
                client.setblocking(False)
                with contextlib.suppress(ConnectionResetError):
                    assert await asyncio.wait_for(loop.sock_recv(client, 1), 10) == b""
    assert proxy.traffic.errors["TOOMANYREQUESTS"] == 20
    await wait_until(lambda: len(proxy.server.clients) == 0, "all have left")
    assert (await proxy.ask("/v2/")).status == 200


@pytest.mark.parametrize("proxy", ["TLS"], indirect=True)
async def test_who_never_shakes_hands_is_let_go(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproxy.api.handshake._TIME", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


@limits_are("limits", [SELDOM])
@pytest.mark.parametrize("row", [1, 3], ids=["one by one", "in a row"])
async def test_requests_of_an_address_are_so_many(proxy: Proxy, row: int) -> None:
    """Hits at the front, and whatever is handed on."""
    proxy.shelf.image(HERE, "1.0")
    async with proxy.connected() as (reader, writer):
        statuses, answer = [], None
        for _ in range(0, 12, row):
            writer.write(request(MANIFEST) * row)
            for _ in range(row):
                answer = await response(reader)
                statuses.append(answer.status)
        assert answer is not None
        assert statuses == [200] * (12 - (12 - 10 + row - 1) // row * row) + [429] * ((12 - 10 + row - 1) // row * row)
        assert (answer.code, answer.fields["retry-after"]) == ("TOOMANYREQUESTS", "1")
        proxy.server.sweep(START + 1)
        writer.write(request(MANIFEST))
        assert (await response(reader)).status == 200


@limits_are("limits", [{"requests_per_address": 1, "connections_per_address": 1}])
async def test_who_is_exempt_has_no_limit_of_its_own(proxy: Proxy) -> None:
    async with proxy.connected(), proxy.connected() as (reader, writer):
        for _ in range(20):
            writer.write(request("/v2/"))
            assert (await response(reader)).status == 200


@limits_are("limits", [{"flights": 2}])
async def test_downloads_are_so_many_and_anybody_may_join_one(proxy: Proxy) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(3)]
    pinned = [proxy.shelf.blob(HERE, body) for body in bodies]
    hold = asyncio.Event()
    proxy.shelf.faults += [Fault("open", each.digest, hold=hold) for each in pinned[:2]]
    asking = [asyncio.create_task(proxy.ask(f"/v2/team/app/blobs/{pinned[number].digest}")) for number in (0, 1)]
    await wait_until(lambda: len(proxy.daemon.flights) == 2, "both are under way")
    asking.append(asyncio.create_task(proxy.ask(f"/v2/team/app/blobs/{pinned[0].digest}")))
    third = await proxy.ask(f"/v2/team/app/blobs/{pinned[2].digest}")
    assert (third.status, third.code, third.fields["retry-after"]) == (429, "TOOMANYREQUESTS", "5")
    hold.set()
    assert [Digest.of((await each).body) for each in asking] == [Digest.of(bodies[number]) for number in (0, 1, 0)]
    await proxy.keeps(*bodies[:2])
    await wait_until(lambda: len(proxy.daemon.flights) == 0, "both have ended")
    assert (await proxy.ask(f"/v2/team/app/blobs/{pinned[2].digest}")).body == bodies[2]
