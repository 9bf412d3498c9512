"""A blob in chunks (docs/adr/0009), over the wire."""

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest
import zstandard

from edgeproxy.config import Config
from edgeproxy.oci.chunks import write_checksum, write_held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned
from tests.api.conftest import HERE, Proxy, serving
from tests.api.pushing import BEGIN, BODY, DIGEST, named, push_blob, send
from tests.api.wire import Parsed, request, response
from tests.fakes.shelf import Fault
from tests.parts.processes import wait_until

SIZE = len(BODY)
ABOUT = f"Edgeproxy-Blob: {DIGEST};size={SIZE}"
MIB = 1024 * 1024
ACCESS = [
    {"allow": "replicator", "to": ["*"]},
    {"deny": "replicator", "on": ["a.test/pushed/*"]},
    {"allow": "pusher", "to": ["*"], "on": ["a.test/pushed/*"]},
]


@pytest.fixture
def more() -> dict[str, Any]:
    return {"access": ACCESS, "limits": {"upload_size": "10MB"}}


async def begin(proxy: Proxy, target: str = BEGIN, about: str = ABOUT) -> Parsed:
    return await send(proxy, "POST", target, b"", about)


async def begun(proxy: Proxy, target: str = BEGIN, about: str = ABOUT) -> str:
    answer = await begin(proxy, target, about)
    assert answer.status == 202, answer.body
    return answer.fields["location"]


async def patch(
    proxy: Proxy, location: str, start: int, stop: int, *more: str, body: bytes | None = None, packed: bool = False
) -> Parsed:
    sent = BODY[start:stop] if body is None else body
    if packed:
        sent, more = zstandard.ZstdCompressor().compress(sent), ("Content-Encoding: zstd", *more)
    fields = (f"Content-Range: {start}-{stop - 1}", f"Content-Digest: {write_checksum(sent)}", *more)
    return await send(proxy, "PATCH", location, sent, *fields)


async def held(proxy: Proxy, location: str) -> str:
    answer = await proxy.ask(location)
    assert answer.status == 204
    return answer.fields["edgeproxy-held"]


async def test_a_blob_in_chunks(proxy: Proxy) -> None:
    answer = await begin(proxy)
    location = answer.fields["location"]
    assert (answer.status, answer.fields["edgeproxy-held"], location.rpartition("/")[0]) == (202, "", BEGIN[:-1])
    for start, stop, packed in ((400_000, SIZE, False), (100_000, 200_000, True), (0, 100_000, False)):
        assert (await patch(proxy, location, start, stop, packed=packed)).status == 202
    assert await held(proxy, location) == f"0-199999,400000-{SIZE - 1}"
    answer = await begin(proxy)
    assert (answer.status, answer.fields["location"]) == (202, location)
    assert answer.fields["edgeproxy-held"] == f"0-199999,400000-{SIZE - 1}"
    assert (await proxy.ask(f"/v2/team/app/blobs/{DIGEST}")).status == 404
    assert (await patch(proxy, location, 200_000, 400_000)).status == 202
    assert (await proxy.ask(f"/v2/team/app/blobs/{DIGEST}")).status == 404
    proxy.shelf.asked.clear()
    answer = await send(proxy, "PUT", named(location))
    assert (answer.status, answer.fields["location"]) == (201, f"/v2/team/app/blobs/{DIGEST}")
    assert answer.fields["docker-content-digest"] == DIGEST
    assert (await proxy.ask(answer.fields["location"])).body == BODY
    assert proxy.shelf.asked == []
    assert proxy.traffic.pushed == {"a.test": SIZE}
    assert 400_000 < proxy.traffic.carried["a.test"] < SIZE


async def test_several_at_a_time_and_twice(proxy: Proxy) -> None:
    location = await begun(proxy)
    spans = [(start, min(start + 30_000, SIZE)) for start in range(0, SIZE, 30_000)] * 2
    random.Random(7).shuffle(spans)
    for batch in (spans[:18], spans[18:]):
        answers = await asyncio.gather(*(patch(proxy, location, *span) for span in batch))
        assert {answer.status for answer in answers} == {202}
    answers = await asyncio.gather(*(send(proxy, "PUT", named(location)) for _ in range(4)))
    assert {answer.status for answer in answers} == {201}
    assert (await proxy.ask(f"/v2/team/app/blobs/{DIGEST}")).body == BODY
    assert proxy.traffic.pushed == {"a.test": SIZE}


async def test_it_is_gone_on_with_after_a_restart(tmp_path: Path, more: dict[str, Any]) -> None:
    async with serving(tmp_path, more) as proxy:
        location = await begun(proxy)
        assert (await patch(proxy, location, 300_000, 400_000)).status == 202
    async with serving(tmp_path, more) as proxy:
        assert (await patch(proxy, location, 0, 300_000)).status == 202
        assert (await begin(proxy)).fields["edgeproxy-held"] == "0-399999"
        assert (await patch(proxy, location, 400_000, SIZE)).status == 202
        assert (await send(proxy, "PUT", named(location))).status == 201
        assert (await proxy.ask(f"/v2/team/app/blobs/{DIGEST}")).body == BODY


async def test_what_the_repository_shows_is_not_sent(proxy: Proxy) -> None:
    await push_blob(proxy, BODY)
    answer = await begin(proxy)
    assert (answer.status, answer.fields["location"]) == (201, f"/v2/team/app/blobs/{DIGEST}")
    assert answer.fields["docker-content-digest"] == DIGEST
    assert (await begin(proxy, "/v2/team/other/blobs/uploads/")).status == 202


async def test_an_end_whose_answer_was_lost_is_asked_for_again(proxy: Proxy) -> None:
    location = await begun(proxy)
    await patch(proxy, location, 0, SIZE)
    for _ in range(2):
        answer = await send(proxy, "PUT", named(location))
        assert (answer.status, answer.fields["location"]) == (201, f"/v2/team/app/blobs/{DIGEST}")
    answer = await patch(proxy, location, 0, SIZE)
    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await begin(proxy)).status == 201


async def test_while_something_is_missing_it_is_told_what_is_held(proxy: Proxy) -> None:
    location = await begun(proxy)
    await patch(proxy, location, 1000, 2000)
    for ask in (send(proxy, "PUT", named(location)), patch(proxy, location, SIZE, SIZE + 1, body=b"x")):
        answer = await ask
        assert (answer.status, answer.code) == (416, "RANGE_INVALID")
        assert answer.fields["edgeproxy-held"] == "1000-1999"


async def test_very_many_gaps_still_fit_into_a_header(proxy: Proxy) -> None:
    location = await begun(proxy)
    (name,) = proxy.daemon.store.uploads.sessions
    async with proxy.daemon.store.uploads.sharing(name) as (_, writer):
        for start in range(0, 1000, 2):
            await writer.write(BODY[start : start + 1], start)
        answer = await begin(proxy)
        assert len(answer.fields["edgeproxy-held"]) <= 4096
        assert write_held(writer.spans) == answer.fields["edgeproxy-held"]
    assert (await patch(proxy, location, 0, SIZE)).status == 202
    assert (await send(proxy, "PUT", named(location))).status == 201


async def test_a_session_is_given_up(proxy: Proxy) -> None:
    location = await begun(proxy)
    await patch(proxy, location, 1000, 2000)
    assert (await send(proxy, "DELETE", location)).status == 204
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        fields = ("Content-Range: 0-0", f"Content-Digest: {write_checksum(b'')}") if method == "PATCH" else ()
        answer = await send(proxy, method, named(location), b"", *fields)
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert list((proxy.daemon.layout.uploads).iterdir()) == []


async def test_it_is_on_its_way_from_upstream(proxy: Proxy) -> None:
    hold = asyncio.Event()
    proxy.shelf.blob(HERE, BODY)
    proxy.shelf.faults.append(fault := Fault("open", hold=hold, at=1000))
    reading = asyncio.create_task(proxy.ask(f"/v2/team/app/blobs/{DIGEST}"))
    await fault.reached.wait()
    answer = await begin(proxy)
    assert (answer.status, answer.fields["retry-after"]) == (409, "5")
    hold.set()
    assert (await reading).body == BODY
    await proxy.keeps(BODY)
    await wait_until(lambda: len(proxy.daemon.flights) == 0, "it has landed")
    assert (await begin(proxy)).status == 201


# what is refused


WHOLE = f"Content-Range: 0-{SIZE - 1}"
RIGHT = f"Content-Digest: {write_checksum(BODY)}"
FRAME = zstandard.ZstdCompressor().compress(BODY)
PACKED = ("Content-Encoding: zstd", WHOLE)


def summed(body: bytes) -> str:
    return f"Content-Digest: {write_checksum(body)}"


def bomb(size: int) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return b"".join([stream.compress(bytes(MIB)) for _ in range(size // MIB)]) + stream.flush()


BOMB = bomb(64 * MIB)


@pytest.mark.parametrize(
    ("body", "fields", "status", "code"),
    [
        (BODY, [RIGHT], 400, "BLOB_UPLOAD_INVALID"),
        (BODY, [WHOLE], 400, "UNSUPPORTED"),
        (BODY, [WHOLE, "Content-Digest: sha-256=:AAAA:"], 400, "UNSUPPORTED"),
        (BODY, [WHOLE, summed(BODY[1:])], 400, "DIGEST_INVALID"),
        (BODY, [WHOLE, "Content-Digest: crc32c=::"], 400, "DIGEST_INVALID"),
        (BODY, ["Content-Range: 9-1", RIGHT], 416, "RANGE_INVALID"),
        (BODY, ["Content-Range: x", RIGHT], 416, "RANGE_INVALID"),
        (BODY, [f"Content-Range: 1-{SIZE}", RIGHT], 416, "RANGE_INVALID"),
        (BODY, [f"Content-Range: {10**18}-{10**18}", RIGHT], 416, "RANGE_INVALID"),
        (BODY[1:], [WHOLE, summed(BODY[1:])], 400, "BLOB_UPLOAD_INVALID"),
        (BODY + b"x", [WHOLE, summed(BODY + b"x")], 400, "BLOB_UPLOAD_INVALID"),
        (b"", [WHOLE, summed(b"")], 400, "BLOB_UPLOAD_INVALID"),
        (BODY, [WHOLE, RIGHT, "Content-Encoding: gzip"], 400, "BLOB_UPLOAD_INVALID"),
        (BODY, [*PACKED, RIGHT], 400, "BLOB_UPLOAD_INVALID"),
        (FRAME[:-1], [*PACKED, summed(FRAME[:-1])], 400, "BLOB_UPLOAD_INVALID"),
        (FRAME + b"x", [*PACKED, summed(FRAME + b"x")], 400, "BLOB_UPLOAD_INVALID"),
        (FRAME, [*PACKED, RIGHT], 400, "DIGEST_INVALID"),
        (BOMB, [*PACKED, summed(BOMB)], 400, "BLOB_UPLOAD_INVALID"),
    ],
    ids=range(18),
)
async def test_a_chunk_that_is_refused_changes_nothing(
    proxy: Proxy, body: bytes, fields: list[str], status: int, code: str
) -> None:
    location = await begun(proxy)
    answer = await send(proxy, "PATCH", location, body, *fields)
    assert (answer.status, answer.code) == (status, code)
    assert await held(proxy, location) == ""
    assert (await patch(proxy, location, 0, SIZE)).status == 202
    assert (await send(proxy, "PUT", named(location))).status == 201


async def test_a_chunk_of_the_largest_size_and_one_byte_more(proxy: Proxy) -> None:
    body = bytes(2 * MIB + 1)
    digest = Digest.of(body)
    location = await begun(proxy, about=f"Edgeproxy-Blob: {digest};size={len(body)}")
    answer = await patch(proxy, location, 0, len(body), body=body, packed=True)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    answer = await patch(proxy, location, 0, len(body) - 1, body=body)
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")
    assert (await patch(proxy, location, 1, len(body), body=body[1:])).status == 202
    assert (await patch(proxy, location, 0, 1, body=body[:1])).status == 202
    assert (await send(proxy, "PUT", named(location, digest))).status == 201


async def test_what_is_wrong_at_its_end_is_forgotten(proxy: Proxy) -> None:
    location = await begun(proxy)
    assert (await patch(proxy, location, 0, SIZE, body=bytes(SIZE), packed=True)).status == 202
    answer = await send(proxy, "PUT", named(location))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert (await proxy.ask(location)).status == 404
    assert (await proxy.ask(f"/v2/team/app/blobs/{DIGEST}")).status == 404
    assert (await begin(proxy)).fields["edgeproxy-held"] == ""
    assert (await patch(proxy, location, 0, SIZE)).status == 202
    assert (await send(proxy, "PUT", named(location))).status == 201


@pytest.mark.parametrize("query", ["", f"?digest={Digest.of(b'other')}", "?digest=md5:x"])
async def test_its_end_names_what_was_begun(proxy: Proxy, query: str) -> None:
    location = await begun(proxy)
    await patch(proxy, location, 0, SIZE)
    answer = await send(proxy, "PUT", f"{location}{query}")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    answer = await send(proxy, "PUT", named(location), b"x")
    assert (answer.status, answer.code) == (400, "BLOB_UPLOAD_INVALID")
    assert (await send(proxy, "PUT", named(location))).status == 201


@pytest.mark.parametrize(
    ("about", "status"),
    [
        ("x", 400),
        (DIGEST, 400),
        (f"{DIGEST};size=x", 400),
        (f"{DIGEST};size=-1", 400),
        ("md5:x;size=1", 400),
        (f"{DIGEST};size={10**7 + 1}", 413),
        (f"{DIGEST};size={10**17}", 413),
    ],
)
async def test_what_cannot_be_begun(proxy: Proxy, about: str, status: int) -> None:
    assert (await begin(proxy, about=f"Edgeproxy-Blob: {about}")).status == status
    assert len(proxy.daemon.store.uploads) == 0


async def test_an_unknown_session_is_refused_before_its_bytes_are_asked_for(proxy: Proxy) -> None:
    location = (await begun(proxy)).replace(f"-{SIZE}", f"-{SIZE + 1}")
    fields = (WHOLE, RIGHT, f"Content-Length: {SIZE}", "Expect: 100-continue")
    async with proxy.connected() as (reader, writer):
        writer.write(request(location, *fields, method="PATCH"))
        answer = await response(reader)
    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


# who and where


async def test_who_may_only_push_is_told_what_it_takes(proxy: Proxy) -> None:
    location = (await begun(proxy)).replace("/team/", "/pushed/")
    for method, target in (
        ("POST", "/v2/pushed/app/blobs/uploads/"),
        ("GET", location),
        ("PATCH", location),
        ("PUT", named(location)),
        ("DELETE", location),
    ):
        answer = await send(proxy, method, target, b"", ABOUT)
        assert (answer.status, answer.code) == (403, "DENIED")
        assert "replicator" in json.loads(answer.body)["errors"][0]["message"]
    assert len(proxy.daemon.store.uploads) == 1
    await push_blob(proxy, BODY, "pushed/app")


async def test_a_session_of_another_repository_is_none(proxy: Proxy) -> None:
    location = await begun(proxy)
    await patch(proxy, location, 0, SIZE)
    elsewhere = location.replace("/team/app/", "/team/other/")
    for ask in (
        proxy.ask(elsewhere),
        patch(proxy, elsewhere, 0, 100),
        send(proxy, "PUT", named(elsewhere)),
        send(proxy, "DELETE", elsewhere),
    ):
        answer = await ask
        assert (answer.status, answer.code if answer.body else "") == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await send(proxy, "PUT", named(location))).status == 201
    answer = await send(proxy, "PUT", named(elsewhere))
    assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")
    assert (await begin(proxy, "/v2/team/other/blobs/uploads/")).fields["edgeproxy-held"] == ""
    assert proxy.daemon.catalog.link("blobs", Pinned(HERE._replace(path="team/other"), Digest(DIGEST))) is None


@pytest.mark.parametrize(
    ("words", "query"), [("/v2/a.test/team/app", ""), ("/v2/team/app", "?ns=a.test"), ("/v2/team%2Fapp", "")]
)
async def test_locations_keep_the_words_of_the_client(proxy: Proxy, words: str, query: str) -> None:
    location = await begun(proxy, f"{words}/blobs/uploads/{query}")
    assert location.startswith(f"{words}/blobs/uploads/")
    assert location.endswith(query)
    assert (await patch(proxy, location, 0, SIZE)).status == 202
    answer = await send(proxy, "PUT", named(location))
    assert (answer.status, answer.fields["location"]) == (201, f"{words}/blobs/{DIGEST}{query}")


async def test_a_configuration_that_is_read_again_does_not_disturb_chunks(
    proxy: Proxy, tmp_path: Path, more: dict[str, Any]
) -> None:
    """What arrives by the old one and by the new one is written by the same writer."""
    location = await begun(proxy)
    async with proxy.connected() as (reader, writer):
        fields = ("Content-Range: 200000-299999", summed(BODY[200_000:300_000]), "Content-Length: 100000")
        writer.write(request(location, *fields, method="PATCH", body=BODY[200_000:250_000]))
        sessions = proxy.daemon.store.uploads.sessions
        await wait_until(lambda: all(each.writer is not None for each in sessions.values()), "the first one writes")
        registry = {"a.test": {"default": True, "upstream": [{"url": "http://127.0.0.1:9"}]}}
        config = Config.model_validate({"data": tmp_path / "data", "registry": registry, **more})
        proxy.daemon.configure(config)
        proxy.server.exchange(proxy.daemon.service)
        for start, stop in ((400_000, SIZE), (0, 100_000)):
            assert (await patch(proxy, location, start, stop)).status == 202
        writer.write(BODY[250_000:300_000])
        assert (await response(reader)).status == 202
    assert await held(proxy, location) == f"0-99999,200000-299999,400000-{SIZE - 1}"
    for start, stop in ((100_000, 200_000), (300_000, 400_000)):
        assert (await patch(proxy, location, start, stop)).status == 202
    assert (await send(proxy, "PUT", named(location))).status == 201


async def test_who_leaves_in_the_middle_of_a_chunk_leaves_the_rest_alone(proxy: Proxy) -> None:
    location = await begun(proxy)
    async with proxy.connected() as (_, writer):
        writer.write(request(location, WHOLE, RIGHT, f"Content-Length: {SIZE}", method="PATCH", body=BODY[:1000]))
        sessions = proxy.daemon.store.uploads.sessions
        await wait_until(lambda: all(not each.is_at_rest for each in sessions.values()), "it arrives")
        assert (await patch(proxy, location, 0, 1000)).status == 202
        answer = await send(proxy, "DELETE", location)
        assert (answer.status, answer.code) == (409, "BLOB_UPLOAD_INVALID")
    await wait_until(lambda: all(each.is_at_rest for each in sessions.values()), "its end is noticed")
    assert await held(proxy, location) == "0-999"
