"""A body from a byte on: what upstream makes of the range, as far as it can be used."""

import pytest
from aiohttp import web

from edgeproxy.oci.errors import Unavailable
from tests.remote.scripted import BODY, PINNED, always, content, registry_at, serving


async def ranged(request: web.BaseRequest) -> web.StreamResponse:
    """As registries do."""
    start = request.http_range.start
    if start is None:
        return web.Response(body=BODY)
    extent = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
    return web.Response(status=206, body=BODY[start:], headers={"Content-Range": extent})


@pytest.mark.parametrize("start", [0, 1, 19])
async def test_the_rest_is_asked_for_and_comes(start: int) -> None:
    async with (
        serving(ranged) as server,
        registry_at(server.url) as registry,
        registry.open("blobs", PINNED, start) as body,
    ):
        assert (body.start, body.size) == (start, len(BODY))
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY[start:]
    assert server.asked[0].headers.get("Range") == (f"bytes={start}-" if start else None)


async def test_an_upstream_that_ignores_the_range_starts_at_the_beginning() -> None:
    fields = {"Content-Type": "text/plain"}
    async with (
        serving(always(body=BODY, headers=fields)) as server,
        registry_at(server.url) as registry,
        registry.open("blobs", PINNED, 7) as body,
    ):
        assert (body.start, body.size, body.media_type) == (0, len(BODY), "text/plain")
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY


async def test_a_range_of_a_whole_of_unknown_size_is_a_range() -> None:
    answer = always(206, BODY[7:], {"Content-Range": "bytes 7-19/*"})
    async with (
        serving(answer) as server,
        registry_at(server.url) as registry,
        registry.open("blobs", PINNED, 7) as body,
    ):
        assert (body.start, body.size) == (7, None)


async def test_a_body_without_a_length_has_no_size() -> None:
    async def chunked(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(BODY)
        return response

    async with (
        serving(chunked) as server,
        registry_at(server.url) as registry,
        registry.open("blobs", PINNED) as body,
    ):
        assert (body.start, body.size) == (0, None)
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY


@pytest.mark.parametrize(
    "extent", [None, "", "bytes 8-19/20", "bytes */20", "bytes 7/20", "items 7-19/20", "bytes -7/20", "7-19/20"]
)
async def test_another_range_than_was_asked_for_is_refused(extent: str | None) -> None:
    fields = {} if extent is None else {"Content-Range": extent}
    async with serving(always(206, BODY[7:], fields)) as server, registry_at(server.url) as registry:
        with pytest.raises(Unavailable, match="another range"):
            await content(registry, 7)


async def test_a_connection_is_used_again_once_its_body_was_read() -> None:
    peers = set()

    async def remembered(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response(body=BODY)

    async with serving(remembered) as server, registry_at(server.url) as registry:
        for _ in range(3):
            assert await content(registry) == BODY
    assert len(peers) == 1
