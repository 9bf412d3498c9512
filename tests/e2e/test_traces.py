"""Traces, as a collector gets them."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.processes import free_port
from tests.parts.relay import RecordingRelay

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@asynccontextmanager
async def collector(port: int) -> AsyncIterator[list[Span]]:
    spans: list[Span] = []

    async def take(request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest()
        message.ParseFromString(await request.read())
        spans.extend(span for each in message.resource_spans for scope in each.scope_spans for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield spans
    finally:
        await runner.cleanup()


async def test_a_pull_and_what_it_causes_are_one_trace(tmp_path: Path, relay: RecordingRelay, gallery: Gallery) -> None:
    port = free_port()
    more = f'[trace]\nendpoint = "http://127.0.0.1:{port}"\n'
    async with (
        collector(port) as spans,
        Edgeproxy(tmp_path / "edge", {"registry.test": relay.url}, more=more) as proxy,
        aiohttp.ClientSession() as session,
    ):
        target = f"/v2/team/docker/blobs/{gallery.docker.blobs[-1]}"
        fields = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
        async with session.get(f"{proxy.url}{target}", headers=fields) as answer:
            assert answer.status == 200
            await answer.read()
        await proxy.stop()
    found = [span for span in spans if span.trace_id.hex() == TRACE]
    (ours,) = (span for span in found if span.kind == Span.SPAN_KIND_SERVER)
    theirs = [span for span in found if span.kind == Span.SPAN_KIND_CLIENT]
    (told,) = (each.headers["traceparent"] for each in relay.asked("GET", target))
    assert told in {f"00-{TRACE}-{span.span_id.hex()}-01" for span in theirs}, "upstream is told the span that asks it"
    assert ours.parent_span_id.hex() == "00f067aa0ba902b7"
    assert theirs
    assert all(span.parent_span_id == ours.span_id for span in theirs)
    about = {each.key: each.value for each in ours.attributes}
    assert about["http.response.status_code"].int_value == 200
    assert about["url.path"].string_value == target
    assert "fwd=uri-miss" in about["edgeproxy.cache"].string_value


@pytest.mark.parametrize(("given", "told"), [("collector:4318", "is not the URL of a collector"), ("http://c:1", "")])
def test_where_they_go_is_checked(tmp_path: Path, given: str, told: str) -> None:
    file = tmp_path / "edgeproxy.toml"
    file.write_text(f'data = "{tmp_path}"\n[trace]\nendpoint = "{given}"\n')
    words = [sys.executable, "-m", "edgeproxy", "check", "-c", str(file)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert told in done.stderr
    assert (done.returncode == 0) is (told == "")


def test_nothing_of_it_is_loaded_unasked() -> None:
    program = "import sys, edgeproxy.process; print(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
