"""A line for each request, in words or as JSON."""

import asyncio
import json
from collections.abc import Callable

import pytest

from edgeproxy.api.requests import Ended, RequestLog
from edgeproxy.oci.reference import Tag
from tests.api.conftest import HERE, PLAIN_AND_TLS, Proxy
from tests.api.wire import request
from tests.fakes.shelf import image_index
from tests.parts.processes import wait_until

LARGE = bytes(range(256)) * 40_000
Told = Callable[[], list[str]]


@pytest.fixture
def told(proxy: Proxy, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Told:
    """What has been written of requests since this was asked last, without the time."""
    caplog.set_level("INFO", "edgeproxy")

    def lines() -> list[str]:
        assert proxy.daemon.lines is not None
        proxy.daemon.lines.flush()
        return [line.partition("edgeproxy.api.requests: ")[2] for line in capsys.readouterr().err.splitlines()]

    return lines


def of(line: str) -> str:
    """Without how long it took."""
    before, _, after = line.partition(" B ")
    return f"{before} B{after.partition(' s')[2]}" if after else line


async def test_what_was_asked_and_what_came_of_it(proxy: Proxy, told: Told) -> None:
    body = b"a configuration"
    pinned = proxy.shelf.blob(HERE, body)
    proxy.shelf.manifest(HERE, image_index(), "1.0")
    target = f"/v2/team/app/blobs/{pinned.digest}"
    await proxy.ask(target)
    await proxy.keeps(body)
    await proxy.ask(target)
    await proxy.ask_front(target)
    await proxy.ask("/v2/team/app/manifests/1.0", method="HEAD")
    await proxy.ask("/v2/team/app/manifests/2.0")
    await proxy.ask("/v2/")
    await proxy.ask("/v3/%0Anot%20a%20line")
    found = list(map(of, told()))
    size, upstream = len(body), found[0].split()[-1]
    assert found == [
        f"127.0.0.1 GET {pinned} 200 miss {size} B from {upstream}",
        f"127.0.0.1 GET {pinned} 200 hit {size} B",
        f"127.0.0.1 GET {pinned} 200 hit {size} B",
        f"127.0.0.1 HEAD {Tag(HERE, '1.0')} 200 miss 0 B",
        f"127.0.0.1 GET {Tag(HERE, '2.0')} 404 error {found[4].split()[5]} B: {Tag(HERE, '2.0')} is unknown",
        "127.0.0.1 GET /v2/ 200 hit 2 B",
        found[6],
    ]
    assert found[6].startswith("127.0.0.1 GET /v3/%0Anot%20a%20line 404 error")
    assert told() == []


@PLAIN_AND_TLS
async def test_how_much_of_a_body_went_out_to_a_client_that_left(proxy: Proxy, told: Told) -> None:
    digest = proxy.shelf.blob(HERE, LARGE).digest
    target = f"/v2/team/app/blobs/{digest}"
    await proxy.ask(target)
    await proxy.keeps(LARGE)
    told()
    async with proxy.connected() as (reader, writer):
        writer.write(request(target))
        await reader.readexactly(1_000_000)
        writer.transport.abort()
    lines: list[str] = []

    def ended() -> bool:
        lines.extend(told())
        return bool(lines)

    await wait_until(ended, "it is told")
    (line,) = lines
    sent = int(line.split(" hit ")[1].split()[0])
    assert 999_000 < sent < len(LARGE), "what the client has read was sent, and not all"
    assert f"{sent} of {len(LARGE)} B" in line
    assert line.endswith(": the client left")


def row(about: str = "/v2/", outcome: str = "hit", **others: object) -> Ended:
    return Ended(1_700_000_000.1239, "10.0.0.7", "", "GET", about, 200, outcome, 2, 2, 0.25, (), "")._replace(**others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "document"),
    [
        ({}, {}),
        (
            {"identity": 'al"ice', "sent": 1, "upstreams": ["mirror", "origin"], "detail": "it\nbroke"},
            {"identity": 'al"ice', "bytes": 1, "length": 2, "upstreams": ["mirror", "origin"], "detail": "it\nbroke"},
        ),
    ],
)
def test_as_json(given: dict[str, object], document: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edgeproxy")
    written: list[str] = []
    lines = RequestLog(written.append, "json")
    lines.ended(row(**given))  # type: ignore[arg-type]
    lines.flush()
    (line,) = written[0].splitlines()
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.123Z",
        "level": "info",
        "logger": "edgeproxy.api.requests",
        "client": "10.0.0.7",
        "method": "GET",
        "reference": "/v2/",
        "status": 200,
        "outcome": "hit",
        "bytes": 2,
        "seconds": 0.25,
        **document,
    }


async def test_what_comes_too_fast_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "edgeproxy")
    written: list[str] = []
    lines = RequestLog(written.append, "text", hits=2, most=4)
    for outcome in ("hit", "hit", "hit", "miss", "error", "error"):
        lines.ended(row(outcome=outcome, detail="\x1b[1mbold\n"))
    await lines.step()
    assert [line.split()[6] for line in written[0].splitlines()] == ["200", "200", "200", "200"]
    assert written[0].splitlines()[0].endswith("0.250 s: ?[1mbold?")
    assert caplog.messages == ["2 more requests came faster than they are written down"]
    caplog.set_level("WARNING", "edgeproxy")
    lines.ended(row())
    await lines.step()
    assert len(written) == 1


async def test_nothing_is_written_when_nothing_was_asked() -> None:
    written: list[str] = []
    await asyncio.gather(RequestLog(written.append, "text").step())
    assert written == []
