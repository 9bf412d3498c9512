"""Content over the wire: the same answer whether it comes from memory, from disk, or as it arrives."""

import asyncio
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST
from edgeproxy.oci.reference import Pinned
from tests.api.conftest import HERE, PLAIN_AND_TLS, Proxy
from tests.api.wire import Parsed, request
from tests.fakes.shelf import Fault

pytestmark = PLAIN_AND_TLS
Way = Literal["front", "memory", "disk", "miss", "growing"]
WAYS: tuple[Way, ...] = ("front", "memory", "disk", "miss", "growing")
SMALL, LARGE = bytes(range(250)) * 4, bytes(range(250)) * 8000
"""The large one is more than memory takes, and more than is sent before all of it is verified."""


def target(pinned: Pinned) -> str:
    return f"/v2/team/app/blobs/{pinned.digest}"


async def ask(proxy: Proxy, way: Way, *fields: str, method: str = "GET") -> tuple[bytes, Parsed]:
    """The whole content, and what was answered when it was come by in this way."""
    body = LARGE if way in ("disk", "growing") else SMALL
    pinned = proxy.shelf.blob(HERE, body)
    if way in ("front", "memory", "disk"):
        assert (await proxy.ask(target(pinned))).body == body
        await proxy.keeps(body)
    if way == "front":
        proxy.handled.clear()
        answer = await proxy.ask_front(target(pinned), *fields, method=method)
        assert proxy.handled == [] or answer.status == 416
        return body, answer
    if way != "growing" or method == "HEAD":
        return body, await proxy.ask(target(pinned), *fields, method=method)
    fault = Fault("open", pinned.digest, hold=asyncio.Event(), at=len(body) // 2)
    proxy.shelf.faults.append(fault)
    asking = asyncio.create_task(proxy.ask(target(pinned), *fields))
    await asyncio.wait_for(fault.reached.wait(), 10)
    assert fault.hold is not None
    fault.hold.set()
    return body, await asking


@pytest.mark.parametrize("way", WAYS)
async def test_the_whole(proxy: Proxy, way: Way) -> None:
    body, answer = await ask(proxy, way)
    assert (answer.status, answer.body == body) == (200, True)
    assert answer.fields["docker-content-digest"] == Digest.of(body)
    assert answer.fields["etag"] == f'"{Digest.of(body)}"'
    assert answer.fields["accept-ranges"] == "bytes"
    assert answer.fields["content-type"] == "application/octet-stream"
    assert answer.fields["cache-status"].startswith("edgeproxy; fwd=uri-miss" if way in WAYS[3:] else "edgeproxy; hit")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "field", ["bytes=0-", "bytes=10-19", "bytes=-7", "bytes=900-", "bytes=0-0", "bytes=999-2000000"]
)
async def test_a_range(proxy: Proxy, way: Way, field: str) -> None:
    body, answer = await ask(proxy, way, f"Range: {field}")
    first, _, last = field.removeprefix("bytes=").partition("-")
    start = int(first) if first else len(body) - int(last)
    stop = min(len(body), int(last) + 1) if first and last else len(body)
    assert (answer.status, answer.body == body[start:stop]) == (206, True)
    assert answer.fields["content-range"] == f"bytes {start}-{stop - 1}/{len(body)}"
    assert answer.fields["etag"] == f'"{Digest.of(body)}"'


@pytest.mark.parametrize("way", WAYS)
async def test_a_range_beyond_the_end(proxy: Proxy, way: Way) -> None:
    body, answer = await ask(proxy, way, "Range: bytes=2000000-")
    assert (answer.status, answer.code) == (416, "RANGE_INVALID")
    assert answer.fields["content-range"] == f"bytes */{len(body)}"
    await proxy.keeps(body)  # the download, where there is one, goes on


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_the_client_has(proxy: Proxy, way: Way, method: str) -> None:
    digest = Digest.of(LARGE if way in ("disk", "growing") else SMALL)
    _, answer = await ask(proxy, way, f'If-None-Match: "{digest}"', method=method)
    assert (answer.status, answer.body) == (304, b"")
    assert answer.fields["etag"] == f'"{digest}"'
    assert not answer.fields.keys() & {"content-type", "accept-ranges"}


@pytest.mark.parametrize("way", ["front", "memory"])
async def test_what_the_client_has_may_be_told_in_several_lines(proxy: Proxy, way: Way) -> None:
    _, answer = await ask(proxy, way, 'If-None-Match: "another"', f'If-None-Match: "{Digest.of(SMALL)}"')
    assert answer.status == 304


@pytest.mark.parametrize("way", WAYS)
async def test_a_head(proxy: Proxy, way: Way) -> None:
    body, answer = await ask(proxy, way, "Range: bytes=1-2", method="HEAD")
    assert (answer.status, answer.fields["content-length"]) == (200, str(len(body)))
    assert answer.fields["docker-content-digest"] == Digest.of(body)
    assert proxy.shelf.count("open") == (0 if way in ("miss", "growing") else 1), "a HEAD fetches no content"


@pytest.mark.parametrize("body", [LARGE, SMALL], ids=["large", "small"])
async def test_the_wrong_bytes_end_short_and_in_good_order(
    proxy: Proxy, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    """Short of the length that was promised, and by FIN: after a reset no client would resume."""
    pinned = proxy.shelf.blob(HERE, body)
    proxy.shelf.faults.append(Fault("open", body=body[:-1] + b"!"))
    said = await proxy.say(request(target(pinned)))
    head, _, sent = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert len(sent) < len(body)
    assert body.startswith(sent)
    assert [record.name for record in caplog.records if "broke off" in record.message] == ["edgeproxy.api.app"]
    assert proxy.traffic.errors["UNKNOWN"] == 0
    proxy.shelf.faults.clear()
    assert (await proxy.ask(target(pinned))).body == body


async def test_an_empty_blob(proxy: Proxy) -> None:
    pinned = proxy.shelf.blob(HERE, b"")
    for fields in ((), ("Range: bytes=0-",)):
        for asking in (proxy.ask, proxy.ask_front):
            answer = await asking(target(pinned), *fields)
            assert (answer.status, answer.body, answer.fields["content-length"]) == (200, b"", "0")
        await proxy.keeps(b"")


async def test_a_manifest_has_the_type_that_upstream_declares(proxy: Proxy) -> None:
    image = proxy.shelf.image(HERE, "1.0")
    for reference in ("1.0", image.digest):
        for asking in (proxy.ask, proxy.ask_front, proxy.ask):
            answer = await asking(f"/v2/team/app/manifests/{reference}")
            assert Digest.of(answer.body) == answer.fields["docker-content-digest"] == image.digest
            assert answer.fields["content-type"] == OCI_MANIFEST


LINES = st.lists(
    st.sampled_from(
        [
            "Range: bytes=1-5",
            "Range: bytes=5000-",
            "Range: bytes=3-1",
            f'If-Range: "{Digest.of(SMALL)}"',
            'If-Range: "another"',
            f'If-None-Match: W/"{Digest.of(SMALL)}"',
            'If-None-Match: "another"',
            "If-None-Match: *",
            "Accept: application/json",
            "Accept-Encoding: gzip, zstd",
            "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
        ]
    ),
    unique_by=lambda line: line.partition(":")[0],
)


async def test_the_front_answers_as_all_else_does(proxy: Proxy) -> None:
    pinned = proxy.shelf.blob(HERE, SMALL)
    await proxy.ask(target(pinned))
    await proxy.keeps(SMALL)
    loop = asyncio.get_running_loop()

    async def twice(lines: list[str], method: str) -> None:
        long = await proxy.ask(target(pinned), *lines, method=method)
        short = await proxy.ask_front(target(pinned), *lines, method=method)
        assert (long.status, long.body) == (short.status, short.body)
        assert long.fields.pop("connection") == "close"
        for answer in (long, short):
            assert answer.fields.pop("date")
        assert long.fields == short.fields

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(LINES, st.sampled_from(["GET", "HEAD"]))
    def the_same(lines: list[str], method: str) -> None:
        asyncio.run_coroutine_threadsafe(twice(lines, method), loop).result(60)

    await asyncio.to_thread(the_same)
