"""Requests that two readers could read differently (RFC 9112, section 11.2), and rows of them without an end."""

import pytest

from tests.api.conftest import Proxy
from tests.api.wire import request, response, responses
from tests.parts.processes import wait_until

CHUNKS = b"0\r\n\r\n"
SECOND = request("/v2/smuggled")


def shape(*lines: bytes, target: bytes = b"/v2/", method: bytes = b"GET", host: bytes = b"Host: edge") -> bytes:
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", *([host] if host else []), *lines, b"", b""])


@pytest.mark.parametrize(
    "sent",
    [
        shape(b"Content-Length: 5", b"Transfer-Encoding: chunked") + CHUNKS,
        shape(b"Transfer-Encoding: chunked", b"Content-Length: 5") + CHUNKS,
        shape(b"Content-Length: 5", b"Content-Length: 6") + b"abcde",
        shape(b"Content-Length: 5", b"Content-Length: 5") + b"abcde",
        shape(b"Content-Length: 5, 5") + b"abcde",
        shape(b"Content-Length: +5") + b"abcde",
        shape(b"Content-Length: 0x5") + b"abcde",
        shape(b"Content-Length: 5 5") + b"abcde",
        shape(b"Content-Length: 99999999999999999999999"),
        shape(b"Content-Length:"),
        shape(b"Transfer-Encoding: chunked, identity") + CHUNKS,
        shape(b"Transfer-Encoding: identity") + CHUNKS,
        shape(b"Transfer-Encoding: gzip") + CHUNKS,
        shape(b"Transfer-Encoding: xchunked") + CHUNKS,
        shape(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + CHUNKS,
        shape(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + CHUNKS,
        shape(b"Transfer-Encoding:\r\n chunked") + CHUNKS,
        shape(b"X: y\r\n folded: z"),
        shape(b"Transfer-Encoding : chunked") + CHUNKS,
        shape(b"Content-Length : 5") + b"abcde",
        shape(b" Content-Length: 5") + b"abcde",
        shape(b"X: a\rTransfer-Encoding: chunked") + CHUNKS,
        shape(b"X: a\nContent-Length: 5") + b"abcde",
        shape(b"X: a\n"),
        shape(b"X: a\0b"),
        shape(b"X\0: a"),
        shape(b"X: a", host=b"Host: edge\r\nHost: other"),
        shape(host=b""),
        shape(target=b"edge:443", method=b"CONNECT"),
        shape(target=b"/v2/ HTTP/1.1 x"),
        shape(target=b"edge:443"),
        shape(target=b"http:///v2/"),
        shape(target=b"v2/"),
        b"GET /v2/ HTTP/1.1\nHost: edge\n\n",
        b"GET\t/v2/\tHTTP/1.1\r\nHost: edge\r\n\r\n",
    ],
    ids=repr,
)
async def test_is_refused_and_nothing_behind_it_is_read(proxy: Proxy, sent: bytes) -> None:
    (answer,) = await responses(await proxy.say(sent + SECOND))
    assert (answer.status, answer.code) == (400, "UNSUPPORTED")
    assert answer.fields["connection"] == "close"
    assert "/v2/smuggled" not in proxy.handled


@pytest.mark.parametrize(
    "chunks",
    [
        b"5\r\nabcdeXX\r\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b"5;\n\r\nabcde\r\n0\r\n\r\n",
        b"1\nA\n0\n\n",
        b"ffffffffffffffffffff\r\n",
    ],
    ids=repr,
)
async def test_a_body_that_cannot_be_read_is_the_end(proxy: Proxy, chunks: bytes) -> None:
    """Its request may be answered already; what follows is none."""
    for answer in await responses(await proxy.say(shape(b"Transfer-Encoding: chunked") + chunks + SECOND)):
        assert answer.status in (200, 400)
    assert "/v2/smuggled" not in proxy.handled


async def test_a_row_without_an_end_is_read_as_it_is_answered(proxy: Proxy) -> None:
    """A hundred thousand requests from somebody who reads no answer."""
    count = 100_000
    async with proxy.connected() as (reader, writer):
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request("/v2/") * count)
        await wait_until(lambda: len(proxy.server.connections) == 1, "it is connected")
        (connection,) = proxy.server.connections
        handled = -1
        while handled < len(proxy.handled):  # until it goes on no further
            handled = len(proxy.handled)
            for _ in range(20):
                assert (await proxy.ask("/v2/nowhere")).status == 404
            handled += 20
        assert len(proxy.handled) < count
        assert len(connection._messages) <= 32
        assert connection.transport is not None
        assert connection.transport.get_write_buffer_size() < 200_000
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        for _ in range(1000):
            assert (await response(reader)).status == 200
        writer.transport.abort()
