"""Requests that are refused, and bugs: always an OCI error document, always the proxy's own fields."""

import asyncio
import json

import pytest

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import TooManyRequests, Unavailable
from tests.api.conftest import HERE, Proxy
from tests.api.wire import request, response, responses
from tests.fakes.shelf import Fault

MANIFEST = "/v2/team/app/manifests/1.0"
ALLOW = {
    "/v2/a/blobs/uploads/": "POST",
    "/v2/a/blobs/uploads/some-id": "GET, PATCH, PUT, DELETE",
    "/v2/a/manifests/1": "GET, HEAD, PUT, DELETE",
    f"/v2/a/blobs/{Digest.of(b'')}": "GET, HEAD, DELETE",
}


@pytest.mark.parametrize(
    ("target", "method", "status", "code"),
    [
        ("/", "GET", 404, "NOT_FOUND"),
        ("/nowhere", "GET", 404, "NOT_FOUND"),
        ("/v1/_ping", "GET", 404, "NOT_FOUND"),
        ("/v2/team/app/manifests/1.0/more", "GET", 404, "NOT_FOUND"),
        ("*", "OPTIONS", 404, "NOT_FOUND"),
        ("/v2/a/blobs/uploads/", "POST", 403, "DENIED"),
        ("/v2/a/blobs/uploads/some-id", "PATCH", 403, "DENIED"),
        ("/v2/a/manifests/1", "PUT", 403, "DENIED"),
        ("/v2/a/blobs/uploads/", "GET", 405, "UNSUPPORTED"),
        ("/v2/a/blobs/uploads/some-id", "POST", 405, "UNSUPPORTED"),
        ("/v2/a/manifests/1", "DELETE", 403, "DENIED"),
        ("/v2/a/manifests/1", "PATCH", 405, "UNSUPPORTED"),
        (f"/v2/a/blobs/{Digest.of(b'')}", "DELETE", 403, "DENIED"),
        (f"/v2/a/blobs/{Digest.of(b'')}", "PUT", 405, "UNSUPPORTED"),
        ("/v2/", "OPTIONS", 405, "UNSUPPORTED"),
        ("/v2/a/manifests/1?ns=evil.test", "GET", 403, "DENIED"),
        ("/v2/A/manifests/1", "GET", 400, "NAME_INVALID"),
        ("/v2/a/blobs/sha256:short", "GET", 400, "DIGEST_INVALID"),
        ("/v2/a/tags/list?n=-1", "GET", 400, "UNSUPPORTED"),
        ("/v2/team/app/manifests/absent", "GET", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/team/app/blobs/{Digest.of(b'')}", "GET", 404, "BLOB_UNKNOWN"),
        ("/v2/team/absent/tags/list", "GET", 404, "NAME_UNKNOWN"),
    ],
)
async def test_every_refusal_is_oci_json(proxy: Proxy, target: str, method: str, status: int, code: str) -> None:
    answer = await proxy.ask(target, method=method)
    assert (answer.status, answer.code) == (status, code)
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["server"] == "edgeproxy"
    assert answer.fields["docker-distribution-api-version"] == "registry/2.0"
    assert answer.fields.get("allow") == (ALLOW.get(target, "GET, HEAD") if status == 405 else None)
    assert proxy.traffic.errors[code] == 1


@pytest.mark.parametrize("target", ["/nowhere", "/v2/team/app/manifests/absent", "/v2/A/manifests/1"])
async def test_a_refusal_of_a_head_has_the_fields_and_no_body(proxy: Proxy, target: str) -> None:
    got, asked = await proxy.ask(target), await proxy.ask(target, method="HEAD")
    assert asked.status == got.status
    assert got.fields.pop("date")
    assert asked.fields.pop("date")
    assert asked.fields == got.fields


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\r\n\r\n\x00\r\n\r\n",
        b"GET /v2/ HTTP/9.9\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /v2/\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=lambda sent: sent[:40].decode("latin-1"),
)
async def test_what_is_no_request_is_400_and_the_end(proxy: Proxy, sent: bytes) -> None:
    (answer,) = await responses(await proxy.say(sent))
    assert (answer.status, answer.code) == (400, "UNSUPPORTED")
    assert answer.fields["content-type"] == "application/json"
    assert answer.fields["connection"] == "close"


async def test_even_then_the_answer_does_not_tell_whose_library_it_is(proxy: Proxy) -> None:
    (answer,) = await responses(await proxy.say(b"nonsense\r\n\r\n"))
    assert answer.fields["server"] == "edgeproxy"
    assert answer.fields["docker-distribution-api-version"] == "registry/2.0"


async def test_what_was_answered_before_the_nonsense_stays_so(proxy: Proxy) -> None:
    async with proxy.connected() as (reader, writer):
        writer.write(request("/v2/"))
        assert (await response(reader)).status == 200
        writer.write(b"nonsense\r\n\r\n")
        assert (await response(reader)).status == 400
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_an_address_that_is_not_configured_says_what_to_write(proxy: Proxy) -> None:
    answer = await proxy.ask("/v2/quay.example/a/manifests/1")
    message = json.loads(answer.body)["errors"][0]["message"]
    assert answer.status == 403
    assert 'add [registry."quay.example"] to the configuration' in message
    assert "a.test" in message


@pytest.mark.parametrize(("seconds", "field"), [(17.2, "17"), (0.0, "1"), (None, None)])
async def test_a_limit_upstream_is_handed_on_with_its_time(
    proxy: Proxy, seconds: float | None, field: str | None
) -> None:
    proxy.shelf.faults.append(Fault("resolve", refusal=TooManyRequests("slowly", retry_after=seconds)))
    answer = await proxy.ask(MANIFEST)
    assert (answer.status, answer.code, answer.fields.get("retry-after")) == (429, "TOOMANYREQUESTS", field)


async def test_an_upstream_that_fails_is_503(proxy: Proxy) -> None:
    proxy.shelf.faults.append(Fault(refusal=Unavailable("down")))
    answer = await proxy.ask(MANIFEST)
    assert (answer.status, answer.code) == (503, "UNAVAILABLE")


@pytest.mark.parametrize(
    "lines", [["CDN-Loop: other, {}"], ["CDN-Loop: {};v=1,other"], ["CDN-Loop: x", "CDN-Loop: {}"]]
)
async def test_a_request_that_comes_round_again_is_refused(proxy: Proxy, lines: list[str]) -> None:
    proxy.shelf.image(HERE, "1.0")
    assert (await proxy.ask(MANIFEST, "CDN-Loop: other")).status == 200
    for ask in (proxy.ask, proxy.ask_front):
        answer = await ask(MANIFEST, *(line.format(proxy.daemon.layout.name) for line in lines))
        assert (answer.status, answer.code) == (508, "LOOP_DETECTED")


async def test_a_bug_is_told_as_json_and_logged(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    """The store's directory is no directory any more: a failing disk is not a miss."""
    pinned = proxy.shelf.blob(HERE, b"layer")
    target = f"/v2/team/app/blobs/{pinned.digest}"
    await proxy.ask(target)
    await proxy.keeps(b"layer")
    proxy.daemon.store.memory.drop(pinned.digest)
    proxy.daemon.layout.blobs.rename(proxy.daemon.layout.data / "moved")
    proxy.daemon.layout.blobs.touch()
    for method in ("GET", "GET"):
        answer = await proxy.ask(target, method=method)
        assert (answer.status, answer.code) == (500, "UNKNOWN")
        assert answer.fields["content-type"] == "application/json"
    assert any("a bug" in record.message for record in caplog.records)
    assert proxy.traffic.errors["UNKNOWN"] == 2


async def test_a_path_writes_no_lines_into_the_log(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert (await proxy.ask("/v2/unknown.test/x%0D%1B[31mforged/manifests/1")).status == 403
    assert "GET /v2/unknown.test/x%0D%1B[31mforged/manifests/1: " in caplog.text
