"""Whatever is sent, the answer is HTTP or a closed connection, and never a 500."""

import asyncio
import contextlib
import random
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import HERE, Proxy

SEED = b"GET /v2/team/app/manifests/1.0?ns=a.test HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-9\r\nAccept: */*\r\n\r\n"
MUTATIONS = 400
WORDS = st.sampled_from(
    [
        "v2",
        "team",
        "app",
        "manifests",
        "blobs",
        "tags",
        "list",
        "referrers",
        "_catalog",
        "1.0",
        "sha256:",
        "..",
        "%00",
        "",
    ]
)
TARGETS = st.lists(WORDS | st.text(max_size=8), max_size=8).map("/".join)
FIELDS = st.dictionaries(
    st.sampled_from(["Range", "If-None-Match", "If-Range", "CDN-Loop", "Accept", "Host", "Expect", "Upgrade"]),
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=30),
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])


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


async def answered(proxy: Proxy, sent: bytes) -> None:
    reader, writer = await proxy.open()
    try:
        writer.write(sent)
        writer.write_eof()
        said = await asyncio.wait_for(reader.read(), 30)
    except ConnectionError:
        return
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    if said:
        assert re.match(rb"HTTP/1\.[01] [1-4]\d\d |HTTP/1\.[01] 50[38] ", said), (sent, said[:200])


async def test_mutations_of_a_request(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0")
    chance = random.Random(20)
    for _ in range(MUTATIONS):
        await answered(proxy, mutated(chance))
    assert proxy.traffic.errors["UNKNOWN"] == 0


async def test_requests_of_any_shape(proxy: Proxy) -> None:
    proxy.shelf.image(HERE, "1.0")
    loop = asyncio.get_running_loop()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(METHODS, TARGETS, FIELDS)
    def any_shape(method: str, target: str, fields: dict[str, str]) -> None:
        lines = [f"{method} /{target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        sent = "\r\n".join(lines).encode("latin-1", "replace")
        asyncio.run_coroutine_threadsafe(answered(proxy, sent), loop).result(60)

    await asyncio.to_thread(any_shape)
    assert proxy.traffic.errors["UNKNOWN"] == 0
