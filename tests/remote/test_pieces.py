"""A blob to any registry over a line that breaks: it goes on where it broke, or begins again."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from edgeproxy.interfaces import Content, OnDisk
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Unavailable
from tests.parts.registry import DockerRegistry
from tests.parts.relay import RecordingRelay
from tests.remote.peers import MiB, line, noise, parcel, peer_at, shown
from tests.remote.scripted import serving

BODY = noise(20 * MiB)
PATH = f"team/app/blobs/{Digest.of(BODY)}"


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[DockerRegistry]:
    async with DockerRegistry(tmp_path / "registry") as registry:
        yield registry


async def test_a_line_that_breaks_in_a_piece(registry: DockerRegistry) -> None:
    """docker-registry 2.8 cannot go on with an upload that broke within a request: it is begun once more."""
    async with RecordingRelay(registry.url) as relay:

        async def cut() -> None:
            await relay.refuse()
            await relay.accept()

        link = line()
        link.at, link.then = 18 * MiB, cut
        async with peer_at(relay.url, link=link) as peer:
            receipt = await peer.send(parcel(BODY))
    assert await shown(registry.url, PATH) == BODY
    assert len(BODY) < receipt.sent == link.bytes <= 2 * len(BODY)


class Resuming:
    """A registry that goes on with what broke within a request, as the specification has it."""

    def __init__(self) -> None:
        self.held = bytearray()
        self.ranges: list[str] = []
        self.cuts: list[int] = []
        """At these bytes of the upload the line breaks, each once."""
        self.closes = 0
        self.lose_close = False

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        about = {"Location": f"/v2/team/app/blobs/uploads/one?state={len(self.held)}", "Range": self._range()}
        match request.method:
            case "PATCH":
                return await self._patch(request)
            case "PUT":
                self.closes += 1
                if self.lose_close:
                    assert request.transport is not None
                    request.transport.abort()
                return web.Response(status=201)
            case "HEAD":
                return web.Response(status=200 if self.closes else 404)
            case "GET" if "/uploads/" in request.path:
                return web.Response(status=204, headers=about)
            case "POST":
                self.held.clear()
                return web.Response(status=202, headers={**about, "OCI-Chunk-Min-Length": str(4 * MiB)})
            case _:
                return web.Response()

    async def _patch(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.raw_path.endswith(f"state={len(self.held)}")
        found = re.fullmatch(r"(\d+)-(\d+)", request.headers["Content-Range"])
        assert found
        self.ranges.append(found[0])
        if int(found[1]) != len(self.held):
            return web.Response(status=416)
        async for chunk in request.content.iter_any():
            self.held += chunk
            if self.cuts and len(self.held) >= self.cuts[0]:
                del self.held[self.cuts.pop(0) :]
                assert request.transport is not None
                request.transport.abort()
                break
        where = f"/v2/team/app/blobs/uploads/one?state={len(self.held)}"
        return web.Response(status=202, headers={"Location": where, "Range": self._range()})

    def _range(self) -> str:
        return f"0-{max(0, len(self.held) - 1)}"


async def test_it_goes_on_where_it_broke() -> None:
    target = Resuming()
    target.cuts = [5 * MiB, 5 * MiB + 3, 17 * MiB]
    async with serving(target.answer) as server, peer_at(server.url) as peer:
        receipt = await peer.send(parcel(BODY))
    assert bytes(target.held) == BODY
    last = len(BODY) - 1
    assert target.ranges == [
        f"0-{16 * MiB - 1}",
        f"{5 * MiB}-{last}",
        f"{5 * MiB + 3}-{last}",
        f"{17 * MiB}-{last}",
    ]
    assert receipt.sent > len(BODY)


async def test_it_breaks_any_number_of_times_as_long_as_something_arrives() -> None:
    body = noise(96 * MiB)
    target = Resuming()
    target.cuts = [number * 8 * MiB for number in range(1, 12)]
    async with serving(target.answer) as server, peer_at(server.url) as peer:
        await peer.send(parcel(body))
    assert bytes(target.held) == body
    assert [each.method for each in server.asked].count("POST") == 1


async def test_the_end_whose_answer_is_lost_is_looked_for() -> None:
    target = Resuming()
    target.lose_close = True
    async with serving(target.answer) as server, peer_at(server.url) as peer:
        receipt = await peer.send(parcel(BODY))
    assert receipt.sent == len(BODY)


async def test_what_breaks_each_time_is_left_for_later() -> None:
    target = Resuming()
    target.cuts = [0] * 1000
    async with serving(target.answer) as server, peer_at(server.url) as peer:
        with pytest.raises(Unavailable, match="store cannot be reached"):
            await peer.send(parcel(BODY))
    assert len(target.ranges) == 5
    assert [each.method for each in server.asked].count("POST") == 1


async def test_what_cannot_be_read_here_is_told_and_not_tried_again(tmp_path: Path) -> None:
    """A file that is shorter than it should be: the disk lost some of it."""
    (tmp_path / "short").write_bytes(BODY[: 3 * MiB])

    async def opened() -> Content:
        return OnDisk(os.open(tmp_path / "short", os.O_RDONLY), len(BODY))

    target = Resuming()
    async with serving(target.answer) as server, peer_at(server.url, server.url) as peer:
        with pytest.raises(Unavailable, match=f"what is to be sent has {3 * MiB} bytes here"):
            await peer.send(parcel(BODY)._replace(open=opened))
    assert [each.method for each in server.asked].count("PATCH") == 1
