"""Pushing, over the wire."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.access.identity import Role
from edgeproxy.access.roles import Binding, Subjects
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Refusal, TooManyRequests, Unavailable
from edgeproxy.oci.manifest import LARGEST_MANIFEST, OCI_INDEX, OCI_MANIFEST
from edgeproxy.oci.reference import Pinned, Repository
from tests.api.conftest import Proxy
from tests.api.pushing import (
    BEGIN,
    BODY,
    CONFIG,
    DIGEST,
    IMAGE,
    LAYER,
    TYPED,
    begun,
    named,
    push_blob,
    push_image,
    send,
)
from tests.api.wire import request, response
from tests.fakes.bodies import said
from tests.fakes.shelf import Fault, described, image_manifest
from tests.parts.processes import wait_until


@pytest.fixture
def more() -> dict[str, Any]:
    return {
        "access": [{"allow": "pusher", "to": ["*"]}, {"deny": "pusher", "on": ["a.test/closed/*"]}],
        "limits": {"upload_size": "1MB", "uploads": 10},
    }


# blobs


@pytest.mark.parametrize("way", ["post", "put", "one patch", "patches", "patch and put"])
async def test_a_blob_by_every_way(proxy: Proxy, way: str) -> None:
    if way == "post":
        answer = await send(proxy, "POST", f"{BEGIN}?digest={DIGEST}", BODY)
    else:
        location, sent = await begun(proxy), 0
        cuts = {"put": [], "one patch": [len(BODY)], "patches": [5, 300_000, len(BODY)], "patch and put": [1000]}[way]
        for stop in cuts:
            claim = f"Content-Range: {sent}-{stop - 1}"
            answer = await send(proxy, "PATCH", location, BODY[sent:stop], claim)
            assert (answer.status, answer.fields["range"]) == (202, f"0-{stop - 1}")
            location, sent = answer.fields["location"], stop
        answer = await send(proxy, "PUT", named(location), BODY[sent:])
    assert answer.status == 201
    assert answer.fields["docker-content-digest"] == DIGEST
    assert answer.fields["location"] == f"/v2/team/app/blobs/{DIGEST}"
    assert answer.fields["content-length"] == "0"
    assert (await proxy.ask(answer.fields["location"])).body == BODY
    assert proxy.shelf.asked == []
    assert proxy.traffic.pushed == {"a.test": len(BODY)}
    assert proxy.traffic.requests["a.test", "uploads", "pushed"] >= 1


async def test_a_body_of_unknown_length(proxy: Proxy) -> None:
    """Docker's: one PATCH in chunks, without a range."""
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:400_000], BODY[400_000:]))
    text = request(await begun(proxy), "Transfer-Encoding: chunked", method="PATCH", body=chunked + b"0\r\n\r\n")
    async with proxy.connected() as (reader, writer):
        writer.write(text)
        answer = await response(reader)
    assert (answer.status, answer.fields["range"]) == (202, f"0-{len(BODY) - 1}")
    assert (await send(proxy, "PUT", named(answer.fields["location"]))).status == 201


async def test_an_upload_tells_how_far_it_is_until_it_is_cancelled(proxy: Proxy) -> None:
    answer = await send(proxy, "POST", BEGIN)
    location, identity = answer.fields["location"], answer.fields["docker-upload-uuid"]
    assert (location, answer.fields["range"]) == (f"{BEGIN}{identity}", "0-0")
    await send(proxy, "PATCH", location, BODY[:1000])
    status = await proxy.ask(location)
    assert (status.status, status.fields["range"], status.fields["location"]) == (204, "0-999", location)
    assert status.fields["docker-upload-uuid"] == identity
    assert (await send(proxy, "DELETE", location)).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = await send(proxy, method, named(location))
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("claim", ["0-99", "999-1098", "1001-1100", "1000-1098", "1000-1100", "1000", "-", "9-1", "x"])
async def test_a_range_that_does_not_follow_says_what_would(proxy: Proxy, claim: str) -> None:
    location = await begun(proxy)
    await send(proxy, "PATCH", location, BODY[:1000], "Content-Range: bytes 0-999/*")
    for method in ("PATCH", "PUT"):
        answer = await send(proxy, method, named(location), bytes(100), f"Content-Range: {claim}")
        assert (answer.status, answer.code) == (416, "RANGE_INVALID")
        assert (answer.fields["range"], answer.fields["location"]) == ("0-999", location)
        assert "content-range" not in answer.fields
    assert (await send(proxy, "PUT", named(location), BODY[1000:])).status == 201


async def test_wrong_content_is_refused_and_the_upload_is_over(proxy: Proxy) -> None:
    location = await begun(proxy)
    answer = await send(proxy, "PUT", named(location), BODY[1:])
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert (await proxy.ask(location)).status == 404
    assert (await proxy.ask(f"/v2/team/app/blobs/{DIGEST}")).status == 404
    location = await begun(proxy)
    for target in (location, f"{location}?digest=md5:x"):
        answer = await send(proxy, "PUT", target, BODY)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert (await send(proxy, "PUT", named(location), BODY)).status == 201


async def test_an_upload_is_of_one_repository(proxy: Proxy) -> None:
    location = await begun(proxy)
    answer = await send(proxy, "PUT", named(location.replace("/team/app/", "/team/other/")), BODY)
    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await send(proxy, "PUT", named(location), BODY)).status == 201


@asynccontextmanager
async def half_sent(proxy: Proxy, location: str, sent: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """A PATCH with more to come."""
    text = request(location, f"Content-Length: {len(BODY)}", method="PATCH", body=sent)
    async with proxy.connected() as (reader, writer):
        writer.write(text)
        await wait_until(lambda: proxy.daemon.store.uploads.size() == len(sent), "it is written")
        yield reader


async def test_two_writers_at_once(proxy: Proxy) -> None:
    location = await begun(proxy)
    async with half_sent(proxy, location, BODY[:1000]):
        for method in ("PATCH", "PUT", "DELETE"):
            answer = await send(proxy, method, named(location), b"x")
            assert (answer.status, answer.code) == (409, "BLOB_UPLOAD_INVALID")
        assert (await proxy.ask(location)).fields["range"] == "0-999"


async def test_a_client_that_leaves_goes_on_later(proxy: Proxy) -> None:
    location = await begun(proxy)
    async with half_sent(proxy, location, BODY[:1000]):
        pass
    sessions = proxy.daemon.store.uploads.sessions
    await wait_until(lambda: all(each.writer is None for each in sessions.values()), "its end is noticed")
    answer = await send(proxy, "PUT", named(location), BODY[1000:], f"Content-Range: 1000-{len(BODY) - 1}")
    assert answer.status == 201
    assert proxy.traffic.errors["UNKNOWN"] == 0


async def test_a_body_that_does_not_go_on_is_given_up(proxy: Proxy) -> None:
    location = await begun(proxy)
    proxy.daemon.service.push.idle = 0.05
    async with half_sent(proxy, location, BODY[:1000]) as reader:
        answer = await response(reader)
        assert (answer.status, answer.code) == (408, "REQUEST_TIMEOUT")
        assert (await proxy.ask(location)).fields["range"] == "0-999"
    async with proxy.connected() as (reader, writer):
        writer.write(request("/v2/team/app/manifests/1", "Content-Length: 10", TYPED, method="PUT", body=b"{"))
        assert (await response(reader)).status == 408


@pytest.mark.parametrize("chunk", [b"nonsense\r\n", b"5\r\nabcdefgh\r\n"])
async def test_chunks_that_are_none(proxy: Proxy, chunk: bytes) -> None:
    text = request(await begun(proxy), "Transfer-Encoding: chunked", method="PATCH", body=b"5\r\nabcde\r\n" + chunk)
    async with proxy.connected() as (reader, writer):
        writer.write(text)
        assert (await response(reader)).status == 400
    assert proxy.traffic.errors["UNKNOWN"] == 0


async def test_whoever_waits_to_be_asked_for_the_body_is_asked_once_it_is_wanted(proxy: Proxy) -> None:
    location = await begun(proxy)
    head = [f"Content-Length: {len(BODY)}", "Expect: 100-continue"]
    async with proxy.connected() as (reader, writer):
        writer.write(request(named(location), *head, method="PUT"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert (await response(reader)).status == 201
    async with proxy.connected() as (reader, writer):
        writer.write(request("/v2/closed/app/blobs/uploads/x", *head, method="PATCH"))
        assert (await response(reader)).status == 403


async def test_limits(proxy: Proxy) -> None:
    location = await begun(proxy)
    for fields in ([f"Content-Length: {10**6 + 1}"], ["Transfer-Encoding: chunked"]):
        sent = b"" if "Length" in fields[0] else b"".join(b"10000\r\n%b\r\n" % bytes(0x10000) for _ in range(16))
        async with proxy.connected() as (reader, writer):
            writer.write(request(location, *fields, method="PATCH", body=sent))
            answer = await response(reader)
            assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    for _ in range(10 - len(proxy.daemon.store.uploads)):
        await begun(proxy)
    answer = await send(proxy, "POST", BEGIN)
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
    assert int(answer.fields["retry-after"]) > 0


async def test_no_room(proxy: Proxy) -> None:
    proxy.daemon.room.limits = type(proxy.daemon.room.limits)(budget=1000, reserve=0)
    location = await begun(proxy)
    answer = await send(proxy, "PUT", named(location), BODY)
    assert (answer.status, answer.code) == (507, "INSUFFICIENT_STORAGE")
    assert (await proxy.ask(f"/v2/team/app/blobs/{DIGEST}")).status == 404


# mounts


async def test_a_blob_is_mounted_from_where_the_caller_may_read_it(proxy: Proxy) -> None:
    await proxy.daemon.uploads.whole(Pinned(Repository("a.test", "closed/app"), DIGEST), said(BODY))
    answer = await send(proxy, "POST", f"{BEGIN}?mount={DIGEST}&from=closed/app")
    assert (answer.status, answer.fields["location"]) == (201, f"/v2/team/app/blobs/{DIGEST}")
    assert answer.fields["docker-content-digest"] == DIGEST
    assert (await proxy.ask(f"/v2/team/app/blobs/{DIGEST}")).body == BODY


@pytest.mark.parametrize("source", ["&from=closed/app", "&from=team/none", "&from=A", "&from=other.test/a", ""])
async def test_a_mount_that_cannot_be_is_an_upload_whatever_the_reason(proxy: Proxy, source: str) -> None:
    blob = Pinned(Repository("a.test", "closed/app"), DIGEST)
    await proxy.daemon.uploads.whole(blob, said(BODY))
    admission = proxy.daemon.service.push._admission
    rules = [Binding(Role.PULLER, Subjects.parse(["*"]), ("a.test/closed/*",), deny=True)]
    admission._bindings = [*admission._bindings, *rules]
    answer = await send(proxy, "POST", f"{BEGIN}?mount={DIGEST}{source}")
    assert answer.status == 202
    assert (await send(proxy, "PUT", named(answer.fields["location"]), BODY)).status == 201


# manifests


async def test_an_image_is_pulled_as_it_was_pushed_without_upstream(proxy: Proxy) -> None:
    proxy.shelf.faults.append(Fault(refusal=Unavailable("down")))
    answer = await push_image(proxy)
    digest = Digest.of(IMAGE)
    assert (answer.status, answer.fields["docker-content-digest"]) == (201, digest)
    assert answer.fields["location"] == f"/v2/team/app/manifests/{digest}"
    assert "oci-subject" not in answer.fields
    for ask in (proxy.ask, proxy.ask_front):
        pulled = await ask("/v2/team/app/manifests/1.0")
        assert (pulled.status, pulled.body, pulled.fields["content-type"]) == (200, IMAGE, OCI_MANIFEST)
        assert pulled.fields["cache-status"] == "edgeproxy; hit"
    assert json.loads((await proxy.ask("/v2/team/app/tags/list")).body)["tags"] == ["1.0"]
    assert json.loads((await proxy.ask("/v2/_catalog")).body)["repositories"] == ["a.test/team/app"]
    assert (await proxy.ask(answer.fields["location"])).body == IMAGE
    assert proxy.shelf.asked[-1].method == "listing"


async def test_a_subject_is_confirmed_and_lists_its_referrers(proxy: Proxy) -> None:
    await push_image(proxy)
    signature = json.dumps({**json.loads(IMAGE), "subject": described(OCI_MANIFEST, IMAGE)}).encode()
    target = f"/v2/team/app/manifests/{Digest.of(signature)}"
    answer = await send(proxy, "PUT", target, signature, TYPED)
    assert (answer.status, answer.fields["oci-subject"]) == (201, Digest.of(IMAGE))
    found = json.loads((await proxy.ask(f"/v2/team/app/referrers/{Digest.of(IMAGE)}")).body)["manifests"]
    assert [item["digest"] for item in found] == [Digest.of(signature)]


@pytest.mark.parametrize(
    ("reference", "body", "kind", "status", "code"),
    [
        ("1.0", b"nonsense", OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        ("1.0", IMAGE, OCI_INDEX, 400, "MANIFEST_INVALID"),
        (Digest.of(b""), IMAGE, OCI_MANIFEST, 400, "DIGEST_INVALID"),
        ("sha256:x", IMAGE, OCI_MANIFEST, 400, "DIGEST_INVALID"),
        (".x", IMAGE, OCI_MANIFEST, 404, "MANIFEST_UNKNOWN"),
        ("1.0", image_manifest(CONFIG, [b"absent"]), OCI_MANIFEST, 404, "MANIFEST_BLOB_UNKNOWN"),
        ("1.0", IMAGE.ljust(LARGEST_MANIFEST + 1), OCI_MANIFEST, 413, "SIZE_INVALID"),
    ],
)
async def test_manifests_that_are_refused(
    proxy: Proxy, reference: str, body: bytes, kind: str, status: int, code: str
) -> None:
    for blob in (CONFIG, LAYER):
        await push_blob(proxy, blob)
    answer = await send(proxy, "PUT", f"/v2/team/app/manifests/{reference}", body, f"Content-Type: {kind}")
    assert (answer.status, answer.code) == (status, code)
    if code == "MANIFEST_BLOB_UNKNOWN":
        assert Digest.of(b"absent") in json.loads(answer.body)["errors"][0]["message"]
    assert (await proxy.ask("/v2/team/app/manifests/1.0")).status == 404


async def test_the_longest_manifest_is_taken_and_a_longer_one_without_a_length_is_not(proxy: Proxy) -> None:
    longest = IMAGE.ljust(LARGEST_MANIFEST)
    for blob in (CONFIG, LAYER):
        await push_blob(proxy, blob)
    assert (await send(proxy, "PUT", "/v2/team/app/manifests/1.0", longest, TYPED)).status == 201
    async with proxy.connected() as (reader, writer):
        chunk = b"%x\r\n%b\r\n" % (len(longest) + 1, longest + b" ")
        fields = (TYPED, "Transfer-Encoding: chunked")
        writer.write(request("/v2/team/app/manifests/1.0", *fields, method="PUT", body=chunk))
        assert (await response(reader)).status == 413


# who and where


@pytest.mark.parametrize(
    ("begin", "host", "asked"),
    [
        ("/v2/a.test/team/app", "", ""),
        ("/v2/team/app", "", "ns=a.test"),
        ("/v2/a.test/team/app", "", "ns=a.test"),
        ("/v2/team/app", "a.test", ""),
        ("/v2/team%2Fapp", "", ""),
    ],
)
async def test_locations_keep_the_words_of_the_client(proxy: Proxy, begin: str, host: str, asked: str) -> None:
    query = f"?{asked}" if asked else ""
    location = await begun(proxy, f"{begin}/blobs/uploads/{query}")
    assert location.startswith(f"{begin}/blobs/uploads/")
    assert location.endswith(query)
    answer = await send(proxy, "PATCH", location, LAYER)
    assert answer.fields["location"] == location
    assert answer.fields.get("oci-namespace") == ("a.test" if asked else None)
    answer = await send(proxy, "PUT", named(location, Digest.of(LAYER)))
    assert answer.fields["location"] == f"{begin}/blobs/{Digest.of(LAYER)}{query}"
    assert (await proxy.ask(answer.fields["location"])).body == LAYER
    await push_blob(proxy, CONFIG)
    answer = await send(proxy, "PUT", f"{begin}/manifests/1.0{query}", IMAGE, TYPED)
    assert answer.fields["location"] == f"{begin}/manifests/{Digest.of(IMAGE)}{query}"
    assert (await proxy.ask("/v2/team/app/manifests/1.0")).body == IMAGE


async def test_who_may_not_push_is_told_before_anything_else(proxy: Proxy) -> None:
    for method, path in (
        ("POST", "blobs/uploads/"),
        ("POST", f"blobs/uploads/?mount={DIGEST}&from=team/app"),
        ("PATCH", "blobs/uploads/x"),
        ("PUT", f"blobs/uploads/x?digest={DIGEST}"),
        ("GET", "blobs/uploads/x"),
        ("DELETE", "blobs/uploads/x"),
        ("PUT", "manifests/1.0"),
    ):
        answer = await send(proxy, method, f"/v2/closed/app/{path}")
        assert (answer.status, answer.code) == (403, "DENIED")
    assert len(proxy.daemon.store.uploads) == 0


@pytest.mark.parametrize("path", [f"blobs/{DIGEST}", "manifests/1.0", f"manifests/{DIGEST}"])
@pytest.mark.parametrize("refusal", [Unavailable("down"), TooManyRequests("slowly")], ids=lambda each: each.code)
async def test_whoever_may_push_is_told_that_what_cannot_be_had_is_not_there(
    proxy: Proxy, path: str, refusal: Refusal
) -> None:
    """It asks for what is still to be pushed; others are told that upstream fails."""
    proxy.shelf.faults.append(Fault(refusal=refusal))
    assert (await proxy.ask(f"/v2/team/app/{path}", method="HEAD")).status == 404
    assert (await proxy.ask(f"/v2/team/app/{path}")).status == refusal.status
    assert (await proxy.ask(f"/v2/closed/app/{path}", method="HEAD")).status == refusal.status


async def test_what_is_pushed_is_private(proxy: Proxy, tmp_path: Path) -> None:
    await push_image(proxy)
    proxy.daemon.service.push._admission._bindings = []
    assert (await proxy.ask("/v2/team/app/manifests/1.0")).status == 403
    assert (await proxy.ask("/v2/team/other/manifests/1.0")).status == 404


async def test_a_push_that_comes_round_again_is_refused(proxy: Proxy) -> None:
    answer = await send(proxy, "POST", BEGIN, b"", f"CDN-Loop: {proxy.daemon.layout.name}")
    assert (answer.status, answer.code) == (508, "LOOP_DETECTED")


async def test_pipelined_pushes_are_answered_in_order(proxy: Proxy) -> None:
    first, second = await begun(proxy), await begun(proxy)
    async with proxy.connected() as (reader, writer):
        for location, body in ((first, CONFIG), (second, LAYER)):
            text = request(named(location, Digest.of(body)), f"Content-Length: {len(body)}", method="PUT", body=body)
            writer.write(text)
        writer.write(request(f"/v2/team/app/blobs/{Digest.of(LAYER)}"))
        assert [(await response(reader)).status for _ in range(2)] == [201, 201]
        assert (await response(reader)).body == LAYER
