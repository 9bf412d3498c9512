"""What upstreams say, in our own words: statuses, headers, garbage and silence."""

import asyncio
import socket
import time
from math import isfinite

import pytest
from aiohttp import web
from yarl import URL

from edgeproxy.interfaces import Kind
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
    UpstreamTimeout,
    UpstreamUnauthorized,
)
from edgeproxy.oci.manifest import ACCEPTED, OCI_MANIFEST
from edgeproxy.oci.passage import passed
from edgeproxy.remote.registry import Registry, Timeouts, new_session
from edgeproxy.remote.transport import Transport
from tests.remote.scripted import BODY, PINNED, REPOSITORY, TAG, always, content, raw, registry_at, serving, turns

DIGEST = Digest.of(b"manifest")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Unavailable),
        (401, UpstreamUnauthorized),
        (403, UpstreamUnauthorized),
        (404, BlobUnknown),
        (405, Unavailable),
        (416, RangeInvalid),
        (429, TooManyRequests),
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (508, LoopDetected),
        (204, Unavailable),
    ],
)
async def test_a_status_is_a_refusal_of_our_own(status: int, kind: type[Refusal]) -> None:
    async with serving(always(status)) as server, registry_at(server.url) as registry:
        with pytest.raises(Refusal) as opened:
            await content(registry)
        with pytest.raises(Refusal) as stated:
            await registry.stat("blobs", PINNED)
    assert (type(opened.value), type(stated.value)) == (kind, kind)


async def test_what_is_absent_is_named_for_what_it_is() -> None:
    async with serving(always(404)) as server, registry_at(server.url) as registry:
        with pytest.raises(ManifestUnknown, match=r"registry.test/team/app:1.0"):
            await registry.resolve(TAG)
        with pytest.raises(ManifestUnknown, match=PINNED.digest):
            await registry.stat("manifests", PINNED)
        with pytest.raises(NameUnknown, match=r"registry.test/team/app"):
            await registry.listing(REPOSITORY, "tags/list", [])
        with pytest.raises(RouteUnknown):
            await registry.listing(REPOSITORY, f"referrers/{PINNED.digest}", [])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [({"Retry-After": "17"}, 17.0), ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0), ({}, None)],
)
async def test_a_limit_says_when_to_come_again(header: dict[str, str], seconds: float | None) -> None:
    async with serving(always(429, headers=header)) as server, registry_at(server.url) as registry:
        with pytest.raises(TooManyRequests) as caught:
            await registry.resolve(TAG)
    assert caught.value.retry_after == seconds


async def test_a_time_beyond_all_numbers_is_none() -> None:
    async with serving(always(429, headers={"Retry-After": "9" * 400})) as server, registry_at(server.url) as registry:
        with pytest.raises(TooManyRequests) as caught:
            await registry.resolve(TAG)
    assert caught.value.retry_after is None or isfinite(caught.value.retry_after)


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = URL(f"http://127.0.0.1:{closed.getsockname()[1]}")
    async with registry_at(url) as registry:
        with pytest.raises(Unavailable, match=r"registry.test cannot be reached") as caught:
            await registry.resolve(TAG)
    assert type(caught.value) is Unavailable


@pytest.mark.parametrize(
    "text", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", b"\xff" * 99]
)
async def test_what_is_no_answer_is_unavailable(text: bytes) -> None:
    async with raw(text) as url, registry_at(url) as registry:
        with pytest.raises(Unavailable, match=r"registry.test cannot be reached"):
            await registry.stat("blobs", PINNED)


async def test_silence_is_a_timeout() -> None:
    async with raw(b"", then=asyncio.Event()) as url, registry_at(url, timeouts=Timeouts(5, 0.05, 5)) as registry:
        with pytest.raises(UpstreamTimeout, match=r"does not answer within 0.05 s"):
            await registry.resolve(TAG)


@pytest.mark.parametrize("form", [b"Content-Length: 20", b"Transfer-Encoding: chunked"])
async def test_a_stall_is_a_timeout(form: bytes) -> None:
    chunk = b"5\r\n01234\r\n" if b"chunked" in form else b"01234"
    head = b"HTTP/1.1 200 OK\r\n" + form + b"\r\n\r\n"
    async with (
        raw(head + chunk, then=asyncio.Event()) as url,
        registry_at(url, timeouts=Timeouts(5, 5, 0.05)) as registry,
        registry.open("blobs", PINNED) as body,
    ):
        chunks = body.chunks()
        assert await anext(chunks) == b"01234"
        with pytest.raises(UpstreamTimeout, match="stalls in the middle"):
            await anext(chunks)


@pytest.mark.parametrize("form", [b"Content-Length: 20", b"Transfer-Encoding: chunked"])
async def test_a_body_that_is_cut_short_is_no_end(form: bytes) -> None:
    chunk = b"5\r\n01234\r\n" if b"chunked" in form else b"01234"
    async with (
        raw(b"HTTP/1.1 200 OK\r\n" + form + b"\r\n\r\n" + chunk) as url,
        registry_at(url) as registry,
    ):
        with pytest.raises(Unavailable, match="broke off in the middle") as caught:
            await content(registry)
    assert type(caught.value) is Unavailable


async def test_a_head_with_all_fields_is_enough() -> None:
    fields = {"Docker-Content-Digest": str(DIGEST), "Content-Type": OCI_MANIFEST}
    async with serving(always(body=b"manifest", headers=fields)) as server, registry_at(server.url) as registry:
        assert await registry.resolve(TAG) == (OCI_MANIFEST, DIGEST, 8)
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("HEAD", "/v2/team/app/manifests/1.0")
    assert asked.headers["Accept"].startswith("application/vnd.oci.image.index.v1+json, ")


@pytest.mark.parametrize("digest", [None, "sha256:short", "md5:00", ""])
async def test_without_a_digest_in_the_head_the_body_is_asked_for(digest: str | None) -> None:
    fields = {"Content-Type": OCI_MANIFEST} | ({} if digest is None else {"Docker-Content-Digest": digest})
    async with serving(always(body=b"manifest", headers=fields)) as server, registry_at(server.url) as registry:
        assert await registry.resolve(TAG) == (OCI_MANIFEST, DIGEST, 8)
    assert [asked.method for asked in server.asked] == ["HEAD", "GET"]


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
async def test_a_head_that_tells_no_size_is_no_head_of_nothing(kind: Kind) -> None:
    async def without_a_length(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(body=BODY, content_type="a/b")
        response = web.StreamResponse(headers={"Content-Type": "a/b"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        return response

    async with serving(without_a_length) as server, registry_at(server.url) as registry:
        assert await registry.stat(kind, PINNED) == ("a/b", PINNED.digest, len(BODY))


async def test_a_head_tells_of_content_what_it_is() -> None:
    async with (
        serving(always(body=BODY, headers={"Content-Type": "a/b"})) as server,
        registry_at(server.url) as registry,
    ):
        assert await registry.stat("blobs", PINNED) == ("a/b", PINNED.digest, len(BODY))
        assert await registry.stat("manifests", PINNED) == ("a/b", PINNED.digest, len(BODY))
        await content(registry)
        async with registry.open("manifests", PINNED):
            pass
    assert [asked.method for asked in server.asked] == ["HEAD", "HEAD", "GET", "GET"]
    accepted = ["*/*", ", ".join(ACCEPTED)]
    assert [asked.headers["Accept"] for asked in server.asked] == accepted * 2, "a registry may convert for whom it can"


async def test_an_answer_larger_than_any_manifest_is_not_held() -> None:
    async with serving(always(body=bytes(4 * 1024 * 1024 + 1))) as server, registry_at(server.url) as registry:
        with pytest.raises(Unavailable, match="sends more than the 4194304 bytes"):
            await registry.resolve(TAG)
        with pytest.raises(Unavailable, match="sends more than the 4194304 bytes"):
            await registry.listing(REPOSITORY, "tags/list", [])


async def test_a_listing_is_handed_on_with_its_query_and_whether_there_is_more() -> None:
    more = {"Link": '</v2/team/app/tags/list?n=1&last=a>; rel="next"'}
    async with serving(always(body=b"{}", headers=more)) as server, registry_at(server.url) as registry:
        following = (("n", "1"), ("last", "a"))
        assert await registry.listing(REPOSITORY, "tags/list", [("n", "1"), ("last", "a b")]) == (b"{}", following)
        server.answer = always(body=b"{}")
        assert await registry.listing(REPOSITORY, "tags/list", []) == (b"{}", ())
    assert [asked.target for asked in server.asked] == ["/v2/team/app/tags/list?n=1&last=a+b", "/v2/team/app/tags/list"]


@pytest.mark.parametrize(
    ("link", "following"),
    [
        ("<?last=a>; rel=next", (("last", "a"),)),
        ("</v2/x/tags/list?last=a%26b>; rel='next'", (("last", "a&b"),)),
        ('<https://elsewhere.test/?last=a>; title="x"; rel="next"', (("last", "a"),)),
        ('<?last=a>; rel="prev"', ()),
        ('<?last=a>; rel="next", <?last=0>; rel="prev"', (("last", "a"),)),
        ("nonsense", ()),
        ("<http://[>; rel=next", ()),
        ("", ()),
    ],
)
async def test_where_a_listing_goes_on(link: str, following: tuple[tuple[str, str], ...]) -> None:
    async with serving(always(body=b"{}", headers={"Link": link})) as server, registry_at(server.url) as registry:
        assert (await registry.listing(REPOSITORY, "tags/list", [])).following == following


async def test_who_was_passed_is_sent_on() -> None:
    async with serving(always(404)) as server, registry_at(server.url) as registry:
        for before in ("", "front; hops=1, middle"):
            passed.set(before)
            with pytest.raises(BlobUnknown):
                await content(registry)
    assert [asked.headers["CDN-Loop"] for asked in server.asked] == ["this-proxy", "front; hops=1, middle, this-proxy"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_body_is_never_decoded(coding: str) -> None:
    async def encoded(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=BODY, headers={"Content-Encoding": coding})

    async with serving(encoded) as server, registry_at(server.url) as registry:
        assert await content(registry) == BODY
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


async def test_a_path_before_the_registrys_own_is_kept() -> None:
    async with serving(always(404)) as server, registry_at(server.url / "hub" / "") as registry:
        with pytest.raises(BlobUnknown):
            await content(registry)
    assert server.asked[0].target == f"/hub/v2/team/app/blobs/{PINNED.digest}"


async def test_a_peer_is_asked_for_what_it_holds_under_the_registry_s_name() -> None:
    async with serving(always(504)) as server, new_session(Timeouts()) as session:
        peer = Registry("peer", server.url, Transport(session, server.url), None, "this-proxy", Timeouts(), "peer")
        with pytest.raises(BlobUnknown):
            await content(peer)
        with pytest.raises(ManifestUnknown):
            await peer.resolve(TAG)
    assert {asked.headers["Cache-Control"] for asked in server.asked} == {"only-if-cached"}
    assert all(asked.target.endswith("?ns=registry.test") for asked in server.asked)


@pytest.mark.parametrize("status", [200, 401, 404])
async def test_any_answer_to_a_knock_will_do(status: int) -> None:
    async with serving(always(status)) as server, registry_at(server.url) as registry:
        await registry.knock()
    assert [asked.target for asked in server.asked] == ["/v2/"]


async def test_trouble_is_no_answer_to_a_knock() -> None:
    async with serving(always(502)) as server, registry_at(server.url) as registry:
        with pytest.raises(Unavailable):
            await registry.knock()


async def test_who_wants_to_be_left_alone_is_not_asked() -> None:
    async with serving(always(429, headers={"Retry-After": "60"})) as server, registry_at(server.url) as registry:
        for _ in range(3):
            with pytest.raises(TooManyRequests) as caught:
                await registry.resolve(TAG)
            assert caught.value.retry_after is not None
            assert 50 < caught.value.retry_after <= 60
    assert len(server.asked) == 1


async def test_what_is_left_is_read_from_every_answer() -> None:
    fields = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
    async with serving(always(200, BODY, fields)) as server, registry_at(server.url) as registry:
        await content(registry)
        assert registry.allowance.remaining(time.time()) == 76


@pytest.mark.parametrize("length", ["Content-Length: 900000", "Transfer-Encoding: chunked"])
async def test_what_came_before_a_break_is_not_lost(length: str) -> None:
    """The reader is busy with the first bytes while all the rest arrives, and then the end that is too early."""
    sent = bytes(600_000)
    said = sent if "Content-Length" in length else b"%x\r\n%s\r\n" % (len(sent), sent)
    received = bytearray()
    async with (
        raw(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode() + said) as url,
        registry_at(url) as registry,
        registry.open("blobs", PINNED) as body,
    ):
        chunks = body.chunks()
        while len(received) < len(sent):
            received += await anext(chunks)
            await turns()
        with pytest.raises(Unavailable, match="broke off in the middle"):
            await anext(chunks)
    assert received == sent
