"""Requests in a row: whatever they are and however they are cut into pieces, the answers are theirs, in their order."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproxy.oci.digest import Digest
from tests.api.conftest import HERE, PLAIN_AND_TLS, Proxy
from tests.api.wire import Parsed, request, response
from tests.fakes.shelf import Fault

pytestmark = PLAIN_AND_TLS
LAYERS = [bytes([number]) * size for number, size in enumerate((1, 1000, 200_000, 600_000))]
PIECES = st.lists(st.integers(1, 400), max_size=12)


@dataclass
class Asked:
    """A request, and what its answer has to be."""

    text: bytes
    status: int
    body: bytes | None = None
    head_only: bool = False

    def check(self, answer: Parsed) -> None:
        assert answer.status == self.status, self.text
        assert self.body is None or answer.body == self.body, self.text


@dataclass
class Script:
    """Makes requests to a proxy, those for something new included."""

    proxy: Proxy
    fresh: int = field(default=0)

    def layer(self, which: int) -> Asked:
        body = LAYERS[which]
        return Asked(request(f"/v2/team/app/blobs/{Digest.of(body)}"), 200, body)

    def part(self, which: int) -> Asked:
        body = LAYERS[which]
        return Asked(request(f"/v2/team/app/blobs/{Digest.of(body)}", "Range: bytes=-100"), 206, body[-100:])

    def head(self, which: int) -> Asked:
        target = f"/v2/team/app/blobs/{Digest.of(LAYERS[which])}"
        return Asked(request(target, method="HEAD"), 200, head_only=True)

    def known(self, which: int) -> Asked:
        digest = Digest.of(LAYERS[which])
        return Asked(request(f"/v2/team/app/blobs/{digest}", f'If-None-Match: "{digest}"'), 304)

    def miss(self, _: int) -> Asked:
        self.fresh += 1
        pinned = self.proxy.shelf.blob(HERE, b"fresh %d" % self.fresh)
        return Asked(request(f"/v2/team/app/blobs/{pinned.digest}"), 200, b"fresh %d" % self.fresh)

    def tag(self, _: int) -> Asked:
        return Asked(request("/v2/team/app/manifests/1.0"), 200)

    def base(self, _: int) -> Asked:
        return Asked(request("/v2/"), 200, b"{}")

    def absent(self, _: int) -> Asked:
        return Asked(request("/v2/team/app/manifests/absent"), 404)

    def with_body(self, which: int) -> Asked:
        body = LAYERS[which]
        sent = request(f"/v2/team/app/blobs/{Digest.of(body)}", "Content-Length: 3", body=b"GET")
        return Asked(sent, 200, body)


MAKERS: list[Callable[[Script, int], Asked]] = [
    Script.layer,
    Script.part,
    Script.head,
    Script.known,
    Script.miss,
    Script.tag,
    Script.base,
    Script.absent,
    Script.with_body,
]
PLANS = st.lists(st.tuples(st.sampled_from(MAKERS), st.integers(0, len(LAYERS) - 1)), min_size=1, max_size=12)


async def asked_in_pieces(proxy: Proxy, row: list[Asked], pieces: list[int]) -> None:
    text = b"".join(asked.text for asked in row)
    async with proxy.connected() as (reader, writer):

        async def speak() -> None:
            rest = text
            for piece in pieces:
                writer.write(rest[:piece])
                rest = rest[piece:]
                for _ in range(4):  # the other side reads what there is
                    await asyncio.sleep(0)
            writer.write(rest)

        speaking = asyncio.create_task(speak())
        for asked in row:
            asked.check(await response(reader, head_only=asked.head_only))
        await speaking
        if writer.can_write_eof():
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), 30) == b"", "more was said than was asked"


async def test_any_row_in_any_pieces(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0", LAYERS)
    script, loop = Script(proxy), asyncio.get_running_loop()
    await asked_in_pieces(proxy, [script.tag(0), *(script.layer(which) for which in range(len(LAYERS)))], [])
    await proxy.keeps(*LAYERS)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(PLANS, PIECES)
    def any_row(plan: list[tuple[Callable[[Script, int], Asked], int]], pieces: list[int]) -> None:
        row = [make(script, which) for make, which in plan]
        asyncio.run_coroutine_threadsafe(asked_in_pieces(proxy, row, pieces), loop).result(60)

    await asyncio.to_thread(any_row)
    assert proxy.traffic.errors["UNKNOWN"] == 0


async def test_what_is_asked_while_an_answer_waits_comes_after_it(proxy: Proxy) -> None:
    """A hit that is parsed while the miss before it is on its way."""
    proxy.shelf.image(HERE, "1.0", LAYERS[:1])
    script = Script(proxy)
    await asked_in_pieces(proxy, [script.tag(0), script.layer(0)], [])
    await proxy.keeps(LAYERS[0])
    fault = Fault("open", hold=asyncio.Event())
    proxy.shelf.faults.append(fault)
    assert fault.hold is not None
    miss, hit = script.miss(0), script.layer(0)
    async with proxy.connected() as (reader, writer):
        writer.write(miss.text)
        await asyncio.wait_for(fault.reached.wait(), 10)
        before = proxy.traffic.requests["a.test", "blobs", "hit"]
        writer.write(hit.text)
        assert (await proxy.ask("/v2/")).status == 200  # so the other connection's bytes have been read too
        assert proxy.traffic.requests["a.test", "blobs", "hit"] == before
        fault.hold.set()
        miss.check(await response(reader))
        hit.check(await response(reader))
