"""Whatever is sent, the answers are HTTP to the letter or a closed connection, and never a bug."""

import asyncio
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeproxy.oci.digest import Digest
from tests.api.conftest import HERE, Proxy
from tests.api.wire import responses

SEED = b"GET /v2/team/app/manifests/1.0?ns=a.test HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-9\r\nAccept: */*\r\n\r\n"
MUTATIONS = 500
WORDS = st.sampled_from(
    ["v2", "team", "app", "manifests", "blobs", "tags", "list", "referrers", "uploads", "_catalog", "1.0", "a.test"]
) | st.sampled_from(["sha256:", Digest.of(b"layer"), "..", "", "%00", "%0d%0a", "%2F", "?", "?n=", "?ns=", "&"])
TARGETS = st.lists(WORDS | st.text(max_size=8), max_size=8).map("/".join)
VALUES = st.sampled_from(
    ["bytes=0-", "bytes=-1", "bytes=9-1", "*", f'"{Digest.of(b"layer")}"', "100-continue", "websocket", "close", "3"]
)
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "Range",
            "If-None-Match",
            "If-Range",
            "CDN-Loop",
            "Accept",
            "Host",
            "Expect",
            "Upgrade",
            "Connection",
            "Content-Length",
            "Transfer-Encoding",
        ]
    ),
    VALUES | st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=30),
)
METHODS = st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])


def mutated(chance: random.Random) -> bytes:
    """The seed with some bytes changed, dropped, doubled or put in."""
    text = bytearray(SEED)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(text))
        edit = chance.randrange(4)
        if edit == 0:
            text[place] = chance.randrange(256)
        elif edit == 1:
            del text[place : place + chance.randint(1, 20)]
        elif edit == 2:
            text[place:place] = text[place : place + chance.randint(1, 40)]
        else:
            text[place:place] = chance.randbytes(chance.randint(1, 20))
        text = text or bytearray(b"\r\n")
    return bytes(text)


async def answered(proxy: Proxy, sent: bytes, *, head_only: bool = False) -> None:
    async with proxy.connected() as (reader, writer):
        try:
            writer.write(sent)
            writer.write_eof()
            said = await asyncio.wait_for(reader.read(), 30)
        except ConnectionError:
            return
    said = said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    for answer in await responses(said, head_only=head_only):
        assert answer.status in range(200, 500) or answer.status == 508, (sent, answer)
        if answer.status >= 400 and not head_only:
            assert answer.code.isupper(), (sent, answer)


async def test_mutations_of_a_request(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0")
    chance = random.Random(20)
    for _ in range(MUTATIONS):
        await answered(proxy, mutated(chance))
    assert proxy.traffic.errors["UNKNOWN"] == 0
    assert proxy.traffic.failed_tasks == 0


async def test_requests_of_any_shape(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0")
    loop = asyncio.get_running_loop()

    @settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
    @given(METHODS, TARGETS, FIELDS)
    def any_shape(method: str, target: str, fields: dict[str, str]) -> None:
        lines = [f"{method} /{target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        sent = "\r\n".join(lines).encode("latin-1", "replace")
        asking = answered(proxy, sent, head_only=method == "HEAD")
        asyncio.run_coroutine_threadsafe(asking, loop).result(60)

    await asyncio.to_thread(any_shape)
    assert proxy.traffic.errors["UNKNOWN"] == 0
    assert proxy.traffic.failed_tasks == 0
