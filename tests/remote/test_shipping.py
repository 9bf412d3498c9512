"""Pushing to another edgeproxy (docs/adr/0009): chunks, each on its own, over whatever lines there are."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from edgeproxy.interfaces import Deletion, InMemory, TagState
from edgeproxy.oci.chunks import LARGEST_CHUNK, write_checksum
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid, Unavailable
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.oci.version import Version
from edgeproxy.remote.packing import Packing
from edgeproxy.remote.paths import FIRST_REST
from edgeproxy.remote.shipping import MOST, Pace, gaps
from tests.api.conftest import Proxy, serving
from tests.fakes.clock import ManualClock
from tests.parts.relay import Exchange, RecordingRelay
from tests.remote.peers import CONFIG, HERE, LAYER, MiB, line, manifest, noise, parcel, peer_at, shown, tagged
from tests.remote.scripted import serving as scripted

NOISE = noise(20 * MiB + 7)
LARGE = noise(80 * MiB + 7)
"""Far more than what is on the way at once."""
LARGE_PATH = f"a.test/team/app/blobs/{Digest.of(LARGE)}"
PATH = f"a.test/team/app/blobs/{Digest.of(NOISE)}"
OTHER = Repository("a.test", "team/other")
REPLICATOR = {"access": [{"allow": "replicator", "to": ["*"]}]}
Answering = Awaitable[web.StreamResponse]
VERSION = Version(1_700_000_000_000, "edge-1", {"edge-1": 1})


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Proxy]:
    async with serving(tmp_path, REPLICATOR) as site:
        yield site


def url(site: Proxy) -> str:
    return f"http://127.0.0.1:{site.port}"


def ranges(exchanges: list[Exchange], status: int = 202) -> Counter[str]:
    """Of the chunks that were taken."""
    return Counter(
        each.headers["Content-Range"] for each in exchanges if each.method == "PATCH" and each.status == status
    )


async def test_a_site_says_who_it_is(site: Proxy) -> None:
    async with peer_at(url(site)) as peer:
        standing = await peer.check(HERE)
    assert standing.source.startswith("edgeproxy-")
    assert standing.free is not None
    assert 0 < standing.free <= 100_000_000


async def test_a_blob_goes_in_chunks_each_once(site: Proxy) -> None:
    link = line()
    async with RecordingRelay(url(site)) as relay, peer_at(relay.url, link=link) as peer:
        assert await peer.missing(HERE, [Digest.of(NOISE)]) == [Digest.of(NOISE)]
        assert await peer.send(parcel(NOISE)) == (len(NOISE), True)
        assert await peer.missing(HERE, [Digest.of(NOISE)]) == []
        taken = ranges(relay.exchanges)
    assert taken == Counter(f"{start}-{stop - 1}" for start, stop in gaps([], len(NOISE)))
    assert link.bytes == len(NOISE)
    assert await shown(url(site), PATH) == NOISE


@pytest.mark.parametrize("body", [b"", b"x", noise(LARGEST_CHUNK), noise(LARGEST_CHUNK + 1)])
async def test_blobs_of_every_size(site: Proxy, body: bytes) -> None:
    async with peer_at(url(site)) as peer:
        await peer.send(parcel(body))
    assert await shown(url(site), f"a.test/team/app/blobs/{Digest.of(body)}") == body


async def test_what_is_there_is_not_sent_again(site: Proxy) -> None:
    async with peer_at(url(site)) as peer:
        await peer.send(parcel(NOISE))
        assert (await peer.send(parcel(NOISE))).sent == 0
        assert await peer.send(parcel(NOISE, OTHER, [HERE])) == (0, False)
    assert await shown(url(site), PATH.replace("app", "other")) == NOISE


async def test_what_is_plain_goes_packed(site: Proxy) -> None:
    body = b"".join(b"%d lines of text\n" % number for number in range(600_000))
    async with peer_at(url(site)) as peer:
        receipt = await peer.send(parcel(body))
    assert receipt.sent < len(body) / 2
    assert await shown(url(site), f"a.test/team/app/blobs/{Digest.of(body)}") == body


async def test_a_parcel_goes_on_where_it_was_left(site: Proxy) -> None:
    """The target is away for longer than anybody waits, and the sender has been started anew."""
    async with RecordingRelay(url(site)) as relay:
        link = line()
        link.at, link.then = 66 * MiB, relay.refuse
        async with peer_at(relay.url, link=link) as peer:
            with pytest.raises(Unavailable, match="store cannot be reached"):
                await peer.send(parcel(LARGE))
        assert link.doing is not None
        await link.doing
        arrived = ranges(relay.exchanges)
        assert len(arrived) >= 1
        await relay.accept()
        async with peer_at(relay.url) as peer:
            receipt = await peer.send(parcel(LARGE))
        assert receipt.sent <= len(LARGE) - len(arrived) * LARGEST_CHUNK + LARGEST_CHUNK
        assert set(ranges(relay.exchanges).values()) == {1}
    assert await shown(url(site), LARGE_PATH) == LARGE


async def test_a_path_that_is_cut_in_a_blob_is_left_for_another(site: Proxy) -> None:
    async with RecordingRelay(url(site)) as best, RecordingRelay(url(site)) as other:
        link = line()
        link.at, link.then = 66 * MiB, best.refuse
        async with peer_at(best.url, other.url, link=link) as peer:
            receipt = await peer.send(parcel(LARGE))
        over = ranges(best.exchanges), ranges(other.exchanges)
    assert await shown(url(site), LARGE_PATH) == LARGE
    assert over[0]
    assert over[1]
    again = sum((over[0] + over[1]).values()) - len(over[0] + over[1])
    assert again <= MOST  # only what was taken while its answer was lost
    assert receipt.sent <= len(LARGE) + MOST * LARGEST_CHUNK


async def test_a_path_that_comes_back_is_used_again(site: Proxy) -> None:
    async with RecordingRelay(url(site)) as best, RecordingRelay(url(site)) as other:
        await best.refuse()
        clock = ManualClock()
        async with peer_at(best.url, other.url, clock=clock) as peer:
            await peer.send(parcel(LAYER))
            assert best.exchanges == []
            await best.accept()
            clock.advance(FIRST_REST)
            await peer.send(parcel(CONFIG))
    assert best.asked("PUT", "digest=")


def otherwise(site: Proxy, method: str, times: int, answer: Callable[[web.BaseRequest], Answering]) -> None:
    """So many requests with this method are answered in another way."""
    handle = site.server.request_handler
    left = times

    async def handling(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal left
        if request.method == method and left:
            left -= 1
            return await answer(request)
        return await handle(request)

    site.server.request_handler = handling


def spoiled(site: Proxy) -> Callable[[web.BaseRequest], Answering]:
    """As if what arrived were not what was sent."""
    handle = site.server.request_handler

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        fields = CIMultiDict(request.headers)
        fields["Content-Digest"] = write_checksum(b"what was sent")
        return await handle(request.clone(headers=fields))

    return answer


async def test_a_chunk_that_arrives_wrong_goes_again_alone(site: Proxy) -> None:
    otherwise(site, "PATCH", 1, spoiled(site))
    async with RecordingRelay(url(site)) as relay, peer_at(relay.url) as peer:
        receipt = await peer.send(parcel(NOISE))
        assert sum(ranges(relay.exchanges, 400).values()) == 1
        assert set(ranges(relay.exchanges).values()) == {1}
    assert receipt.sent == len(NOISE) + LARGEST_CHUNK
    assert await shown(url(site), PATH) == NOISE


async def test_chunks_that_arrive_wrong_each_time_are_left_for_later(site: Proxy) -> None:
    otherwise(site, "PATCH", 1000, spoiled(site))
    async with peer_at(url(site)) as peer:
        with pytest.raises(Unavailable, match="chunks do not arrive as they were sent"):
            await peer.send(parcel(NOISE))


async def test_a_target_that_has_lost_some_of_it_is_sent_that(site: Proxy) -> None:
    async def lost(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"errors": [{"code": "RANGE_INVALID"}]}, status=416)

    otherwise(site, "PUT", 1, lost)
    async with RecordingRelay(url(site)) as relay, peer_at(relay.url) as peer:
        assert (await peer.send(parcel(NOISE))).sent == len(NOISE)
        assert [each.status for each in relay.asked("PUT", "digest=")] == [416, 201]


async def test_what_is_not_what_its_digest_says_is_refused(site: Proxy) -> None:
    wrong = parcel(LAYER)._replace(blob=Pinned(HERE, Digest.of(b"seven b")))
    async with peer_at(url(site)) as peer:
        with pytest.raises(DigestInvalid, match="store answers with status 400"):
            await peer.send(wrong)


async def test_tags_have_versions_and_deletions(site: Proxy) -> None:
    body = manifest()
    older, newer = VERSION._replace(stamp=VERSION.stamp - 1), Version(VERSION.stamp + 9, "edge-1", {"edge-1": 2})
    async with peer_at(url(site)) as peer:
        assert await peer.tags(HERE) == {}
        for blob in (CONFIG, LAYER):
            await peer.send(parcel(blob))
        put = tagged("1.0", body)._replace(version=VERSION, via=["edge-1"])
        assert (await peer.send(put)).news
        assert not (await peer.send(put)).news
        assert not (await peer.send(put._replace(version=older))).news
        descriptor = Descriptor(OCI_MANIFEST, Digest.of(body), len(body))
        assert await peer.tags(HERE) == {"1.0": TagState(descriptor, VERSION)}
        gone = Deletion(Tag(HERE, "1.0"), newer, ["edge-1"])
        assert (await peer.send(gone)).news
        assert not (await peer.send(gone)).news
        assert await peer.tags(HERE) == {"1.0": TagState(None, newer)}
    assert await shown(url(site), "a.test/team/app/manifests/1.0") is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"tags": [{}]}', b'{"tags": [{"name": "a", "version": "x"}]}', b'{"tags": 7}', b"[" * 100_000],
)
async def test_a_list_that_is_none(body: bytes) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=body if "list" in request.path else b"", headers={"Edgeproxy-Source": "edge-2"})

    async with scripted(answer) as server, peer_at(server.url) as peer:
        with pytest.raises(Unavailable, match="store answers with no list of tags"):
            await peer.tags(HERE)


# what is missing, how fast, and how packed


@given(st.integers(0, 9 * MiB), st.lists(st.tuples(st.integers(0, 9 * MiB), st.integers(1, 3 * MiB))))
def test_what_is_held_and_what_is_sent_make_the_whole(size: int, spans: list[tuple[int, int]]) -> None:
    held = [(start, min(size, start + length)) for start, length in spans if start < size]
    missing = gaps(held, size)
    assert all(0 < stop - start <= LARGEST_CHUNK for start, stop in missing)
    edges = sorted({0, size, *(edge for span in [*held, *missing] for edge in span)})
    for start in edges[:-1]:  # between two edges all bytes are alike
        covering = [each for each in missing if each[0] <= start < each[1]]
        assert len(covering) == (0 if any(span[0] <= start < span[1] for span in held) else 1)


def paced(pace: Pace, rate: Callable[[int], float], chunks: int) -> int:
    """The workers, when so many chunks of a byte have arrived at what so many workers bring in a second."""
    now = 0.0
    for _ in range(chunks):
        pace.more(1, now)
        now += 1 / rate(pace.workers)
    return pace.workers


def test_more_chunks_at_a_time_where_that_makes_it_faster() -> None:
    assert paced(Pace(4), lambda workers: workers, 200) == MOST


def test_no_more_chunks_at_a_time_where_that_makes_it_no_faster() -> None:
    assert paced(Pace(4), lambda workers: 4, 1000) == 8


def test_a_chunk_in_eight_tells_whether_packing_pays() -> None:
    body = noise(10 * MiB) + bytes(20 * MiB) + noise(20 * MiB)

    async def packed() -> list[str]:
        with ThreadPoolExecutor(1) as threads:
            packing = Packing(InMemory(body), threads)
            return [(await packing.pack(number * MiB, MiB)).encoding for number in range(len(body) // MiB)]

    found = asyncio.run(packed())
    assert found[:10] == [""] * 10
    assert 10 < found.index("zstd") <= 18  # the first was tried, and the tenth
    assert found[18:30] == ["zstd"] * 12
    assert found[30:] == [""] * 20
