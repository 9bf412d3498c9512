"""What `interfaces.Upstream` promises, asked of the fake and of the real one."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from edgeproxy.interfaces import Upstream
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import (
    BlobUnknown,
    LoopDetected,
    ManifestUnknown,
    NameUnknown,
    RangeInvalid,
    Refusal,
    RouteUnknown,
    TooManyRequests,
    Unavailable,
    UpstreamUnauthorized,
)
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.remote.registry import Registry, Timeouts, new_session
from edgeproxy.remote.transport import Transport
from tests.fakes.loopback import Loopback
from tests.fakes.shelf import LAYER, Fault, Method, Question, Shelf, image_index
from tests.fakes.upstream import MemoryUpstream

REPOSITORY = Repository("registry.test", "some/where")
ABSENT = Pinned(REPOSITORY, Digest.of(b"absent"))
BODY = bytes(range(256)) * 1024


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(params=["fake", "real"])
async def upstream(request: pytest.FixtureRequest, shelf: Shelf) -> AsyncIterator[Upstream]:
    if request.param == "fake":
        yield MemoryUpstream("above", shelf)
        return
    timeouts = Timeouts()
    async with Loopback(shelf, REPOSITORY.registry).listening() as url, new_session(timeouts) as session:
        yield Registry("above", url, Transport(session, url), None, "edgeproxy-test", timeouts)


async def read(upstream: Upstream, pinned: Pinned, start: int = 0) -> bytes:
    async with upstream.open("blobs", pinned, start) as body:
        return b"".join([chunk async for chunk in body.chunks()])


async def read_until_it_breaks(upstream: Upstream, pinned: Pinned) -> bytes:
    received = bytearray()
    async with upstream.open("blobs", pinned) as body:
        with pytest.raises(Unavailable):  # noqa: PT012 - the bytes before the break are wanted
            async for chunk in body.chunks():
                received += chunk
    return bytes(received)


async def test_it_has_a_name(upstream: Upstream) -> None:
    assert upstream.name == "above"


async def test_a_tag_is_resolved_without_reading_the_manifest(upstream: Upstream, shelf: Shelf) -> None:
    image = shelf.image(REPOSITORY, "latest")
    size = len(shelf.contents["manifests", image][1])
    assert await upstream.resolve(Tag(REPOSITORY, "latest")) == Descriptor(OCI_MANIFEST, image.digest, size)
    assert shelf.asked == [Question("resolve", "some/where/manifests/latest")]


async def test_an_unknown_tag_is_refused(upstream: Upstream) -> None:
    with pytest.raises(ManifestUnknown):
        await upstream.resolve(Tag(REPOSITORY, "absent"))


async def test_content_is_described(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    assert await upstream.stat("blobs", pinned) == Descriptor(LAYER, pinned.digest, len(BODY))
    assert shelf.asked == [Question("stat", f"some/where/blobs/{pinned.digest}")]


async def test_unknown_content_is_refused_by_its_kind(upstream: Upstream, shelf: Shelf) -> None:
    with pytest.raises(ManifestUnknown):
        await upstream.stat("manifests", ABSENT)
    with pytest.raises(BlobUnknown):
        await upstream.stat("blobs", ABSENT)
    with pytest.raises(ManifestUnknown):
        async with upstream.open("manifests", ABSENT):
            pass
    with pytest.raises(BlobUnknown):
        await read(upstream, ABSENT)


async def test_content_of_another_repository_or_kind_is_unknown(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    with pytest.raises(BlobUnknown):
        await upstream.stat("blobs", Pinned(Repository(REPOSITORY.registry, "else/where"), pinned.digest))
    with pytest.raises(ManifestUnknown):
        await upstream.stat("manifests", pinned)


async def test_a_body_says_what_it_is_before_it_arrives(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    async with upstream.open("blobs", pinned) as body:
        assert (body.start, body.size, body.media_type) == (0, len(BODY), LAYER)
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY


@pytest.mark.parametrize("start", [1, 70_000, len(BODY) - 1])
async def test_a_body_is_resumed_at_a_byte(upstream: Upstream, shelf: Shelf, start: int) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    async with upstream.open("blobs", pinned, start) as body:
        assert (body.start, body.size) == (start, len(BODY))
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY[start:]
    assert shelf.asked[-1].start == start


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, len(BODY)), (70_000, 70_001), (1000, len(BODY) + 9)])
async def test_a_body_may_be_asked_for_in_parts(upstream: Upstream, shelf: Shelf, start: int, stop: int) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    async with upstream.open("blobs", pinned, start, stop) as body:
        assert (body.start, body.size) == (start, len(BODY))
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY[start:stop]


async def test_who_ignores_ranges_sends_all(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    shelf.faults = [Fault(ignores_range=True)]
    async with upstream.open("blobs", pinned, 10, 20) as body:
        assert (body.start, body.size) == (0, len(BODY))
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY


async def test_an_empty_body_has_no_bytes(upstream: Upstream, shelf: Shelf) -> None:
    assert await read(upstream, shelf.blob(REPOSITORY, b"")) == b""


@pytest.mark.parametrize("start", [len(BODY), len(BODY) + 1])
async def test_nothing_begins_beyond_the_end(upstream: Upstream, shelf: Shelf, start: int) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    with pytest.raises(RangeInvalid):
        await read(upstream, pinned, start)


async def test_who_ignores_ranges_starts_at_the_first_byte(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    shelf.faults = [Fault(ignores_range=True)]
    async with upstream.open("blobs", pinned, 1000) as body:
        assert (body.start, body.size) == (0, len(BODY))
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY


@pytest.mark.parametrize("start", [0, 1000])
async def test_a_size_may_not_be_announced(upstream: Upstream, shelf: Shelf, start: int) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    shelf.faults = [Fault(announces="nothing")]
    async with upstream.open("blobs", pinned, start) as body:
        assert (body.start, body.size) == (start, None)
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY[start:]


async def test_a_resumed_body_may_announce_another_whole(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    shelf.faults = [Fault(announces=2000)]
    async with upstream.open("blobs", pinned, 1000) as body:
        assert body.size == 2000
        assert b"".join([chunk async for chunk in body.chunks()]) == BODY[1000:]


async def test_wrong_content_is_handed_on_as_it_is(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    shelf.faults = [Fault(body=b"wrong")]
    assert await read(upstream, pinned) == b"wrong"


async def test_a_break_comes_after_the_bytes_before_it(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    shelf.faults = [Fault(at=100_000, breaks=True, times=1)]
    received = await read_until_it_breaks(upstream, pinned)
    assert BODY[:100_000].startswith(received)  # what a network still had under way is lost
    assert await read(upstream, pinned) == BODY


async def test_bytes_arrive_while_the_rest_is_still_held(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    gate = asyncio.Event()
    shelf.faults = [Fault(at=100_000, hold=gate)]
    received = bytearray()
    async with upstream.open("blobs", pinned) as body:
        async for chunk in body.chunks():
            received += chunk
            if len(received) == 100_000:
                gate.set()
    assert bytes(received) == BODY
    assert shelf.faults[0].reached.is_set()


async def test_an_answer_may_be_left_in_the_middle(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    async with upstream.open("blobs", pinned) as body:
        chunks = body.chunks()
        assert BODY.startswith(await anext(chunks))
    assert await read(upstream, pinned) == BODY


async def test_who_waits_for_an_answer_may_be_cancelled(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    gate = asyncio.Event()
    shelf.faults = [Fault(hold=gate, times=1)]
    reading = asyncio.create_task(read(upstream, pinned))
    await shelf.faults[0].reached.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await read(upstream, pinned) == BODY
    gate.set()


METHODS: list[Method] = ["resolve", "stat", "open", "listing"]
REFUSALS = [
    TooManyRequests("too many"),
    UpstreamUnauthorized("no login"),
    LoopDetected("again"),
    Unavailable("down"),
]


async def call(upstream: Upstream, method: Method) -> None:
    match method:
        case "resolve":
            await upstream.resolve(Tag(REPOSITORY, "latest"))
        case "stat":
            await upstream.stat("blobs", ABSENT)
        case "open":
            await read(upstream, ABSENT)
        case "listing":
            await upstream.listing(REPOSITORY, "tags/list", [])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
async def test_a_refusal_keeps_its_kind(upstream: Upstream, shelf: Shelf, method: Method, refusal: Refusal) -> None:
    shelf.faults = [Fault(method, refusal=refusal)]
    with pytest.raises(type(refusal)):
        await call(upstream, method)


async def test_a_refusal_says_when_to_come_back(upstream: Upstream, shelf: Shelf) -> None:
    shelf.faults = [Fault(refusal=TooManyRequests("too many", retry_after=7.0))]
    with pytest.raises(TooManyRequests) as caught:
        await call(upstream, "resolve")
    assert caught.value.retry_after == 7.0


async def test_tags_are_listed_a_page_at_a_time(upstream: Upstream, shelf: Shelf) -> None:
    for tag in ("c", "a", "b"):
        shelf.image(REPOSITORY, tag)
    first = await upstream.listing(REPOSITORY, "tags/list", [("n", "2")])
    rest = await upstream.listing(REPOSITORY, "tags/list", [("n", "2"), ("last", "b")])
    assert (json.loads(first.body)["tags"], dict(first.following)) == (["a", "b"], {"n": "2", "last": "b"})
    assert (json.loads(rest.body)["tags"], rest.following) == (["c"], ())


async def test_a_registry_may_ignore_pages_and_order(upstream: Upstream, shelf: Shelf) -> None:
    shelf.pages = False
    for tag in ("c", "a", "b"):
        shelf.image(REPOSITORY, tag)
    page = await upstream.listing(REPOSITORY, "tags/list", [("n", "2"), ("last", "b")])
    assert (json.loads(page.body)["tags"], page.following) == (["c", "a", "b"], ())


async def test_referrers_are_listed_a_page_at_a_time(upstream: Upstream, shelf: Shelf) -> None:
    pinned = shelf.image(REPOSITORY, "1")
    shelf.subjects, shelf.referrers_per_page = {pinned: image_index(*({"size": n} for n in range(5)))}, 2
    path, sizes = f"referrers/{pinned.digest}", []
    query: tuple[tuple[str, str], ...] = ()
    for more in (True, True, False):
        page = await upstream.listing(REPOSITORY, path, query)
        sizes += [item["size"] for item in json.loads(page.body)["manifests"]]
        query = tuple(page.following)
        assert bool(query) == more
    assert sizes == [0, 1, 2, 3, 4]


async def test_an_unknown_repository_has_no_list(upstream: Upstream) -> None:
    with pytest.raises(NameUnknown):
        await upstream.listing(REPOSITORY, "tags/list", [])


async def test_referrers_are_listed(upstream: Upstream, shelf: Shelf) -> None:
    index = image_index({"digest": ABSENT.digest})
    shelf.subjects = {ABSENT: index}
    page = await upstream.listing(REPOSITORY, f"referrers/{ABSENT.digest}", [])
    assert (page.body, page.following) == (index, ())


async def test_an_old_registry_has_no_referrers(upstream: Upstream) -> None:
    with pytest.raises(RouteUnknown):
        await upstream.listing(REPOSITORY, f"referrers/{ABSENT.digest}", [])
