"""edgeproxy serve while it runs: its listeners, its signals, what it tells systemd."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Repository
from tests.cli.running import Running, ask
from tests.fakes.loopback import Loopback
from tests.fakes.shelf import Fault, Shelf

BODY = bytes(range(256)) * 8192
HELD_AT, SENT_BY_THEN = 1_500_000, 1_000_000
"""The end of what has arrived is kept back until the whole is verified."""
REPOSITORY = Repository("a.test", "team/app")
STAYS, READ = "the configuration stays as it was: ", "configuration read again"


def registry(url: object, name: str = "a.test") -> str:
    default = "true" if name == "a.test" else "false"
    return f'[registry."{name}"]\ndefault = {default}\n[[registry."{name}".upstream]]\nurl = "{url}"\n'


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf()
    shelf.image(REPOSITORY, "1.0")
    return shelf


@pytest.fixture
async def upstream(shelf: Shelf) -> AsyncIterator[str]:
    async with Loopback(shelf, "a.test").listening() as url:
        yield str(url)


async def test_health_and_metrics_are_on_the_admin_listener(tmp_path: Path) -> None:
    async with Running(tmp_path) as daemon:
        assert (await ask(f"{daemon.admin}/healthz")).body == b"ok\n"
        assert (await ask(f"{daemon.admin}/readyz"))[0::2] == (200, b"ok\n")
        metrics = await ask(f"{daemon.admin}/metrics")
        assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert b"edgeproxy_cache_budget_bytes " in metrics.body
        assert (await ask(f"{daemon.url}/metrics")).status == 404
        assert (await ask(f"{daemon.url}/v2/")).status == 200

        (daemon.data / "blobs").rename(daemon.data / "gone")
        ready = await ask(f"{daemon.admin}/readyz")
        assert ready.status == 503
        assert b"the store cannot be read: " in ready.body
        assert (await ask(f"{daemon.admin}/healthz")).status == 200
        (daemon.data / "gone").rename(daemon.data / "blobs")
        assert (await ask(f"{daemon.admin}/readyz")).status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_request_under_way_ends_before_the_daemon_does(
    tmp_path: Path, shelf: Shelf, upstream: str, number: signal.Signals
) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    fault = Fault("open", pinned.digest, hold=asyncio.Event(), at=HELD_AT)
    shelf.faults.append(fault)
    assert fault.hold is not None
    url = f"/v2/team/app/blobs/{pinned.digest}"
    async with Running(tmp_path, registry(upstream)) as daemon, aiohttp.ClientSession() as session:
        async with session.get(daemon.url + url) as answer:
            assert await answer.content.readexactly(SENT_BY_THEN) == BODY[:SENT_BY_THEN]
            await daemon.told(number, "stopping: ")
            fault.hold.set()
            assert await answer.content.read() == BODY[SENT_BY_THEN:]
        assert await daemon.process.stop() == 0


async def test_a_request_that_takes_too_long_is_left_when_the_time_is_up(
    tmp_path: Path, shelf: Shelf, upstream: str
) -> None:
    pinned = shelf.blob(REPOSITORY, BODY)
    shelf.faults.append(Fault("open", pinned.digest, hold=asyncio.Event(), at=HELD_AT))
    more = f'{registry(upstream)}[timeout]\ndrain = "100ms"\n'
    async with (
        Running(tmp_path, more) as daemon,
        aiohttp.ClientSession() as session,
        session.get(f"{daemon.url}/v2/team/app/blobs/{pinned.digest}") as answer,
    ):
        assert await answer.content.readexactly(SENT_BY_THEN) == BODY[:SENT_BY_THEN]
        assert await daemon.process.stop(10) == 0, daemon.process.tail()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()


async def test_a_broken_file_changes_nothing_and_a_good_one_takes_effect(
    tmp_path: Path, shelf: Shelf, upstream: str
) -> None:
    async with Running(tmp_path, registry(upstream)) as daemon:
        manifest, other = f"{daemon.url}/v2/team/app/manifests/1.0", f"{daemon.url}/v2/b.test/team/app/manifests/1.0"
        assert (await ask(manifest)).status == 200
        assert (await ask(other)).status == 403

        await daemon.reload('[registry."b.test"]\nwrong = 1\n', STAYS)
        assert ":5: unknown key 'registry.b.test.wrong'" in daemon.log.read_text()
        assert (await ask(manifest)).status == 200
        assert (await ask(other)).status == 403

        shelf.manifest(Repository("a.test", "team/app"), b"{}", "2.0")
        rule = '[[rule]]\nmatch = "a.test/team/app:*"\nfresh = "17m"\n'
        await daemon.reload(registry(upstream) + registry(upstream, "b.test") + rule, READ)
        assert (await ask(f"{daemon.url}/v2/team/app/manifests/2.0")).status == 200
        assert (await ask(other)).status == 200
        status = (await ask(f"{daemon.url}/v2/team/app/manifests/2.0")).headers["Cache-Status"]
        assert int(status.rpartition("ttl=")[2].partition(";")[0]) in range(900, 1021), status


async def test_a_file_that_fails_late_changes_nothing_either(tmp_path: Path, upstream: str) -> None:
    budget = '[cache]\nbudget = "{}"\n'
    async with Running(tmp_path, registry(upstream) + budget.format("1GB")) as daemon:
        login = f'username = "me"\npassword_file = "{tmp_path / "absent"}"\n'
        await daemon.reload(registry(upstream) + login + budget.format("2GB"), STAYS)
        assert b"\nedgeproxy_cache_budget_bytes 1e+09\n" in (await ask(f"{daemon.admin}/metrics")).body


@pytest.mark.parametrize("abstract", [False, True])
async def test_systemd_is_told_when_it_is_ready_and_when_it_stops(tmp_path: Path, abstract: bool) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}" if abstract else name)
        systemd.setblocking(False)
        env = {"NOTIFY_SOCKET": f"@{name}" if abstract else name}
        async with Running(tmp_path, env=env) as daemon:
            said = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(systemd, 100), 10)
            assert said == b"READY=1"
            assert (await ask(f"{daemon.url}/v2/")).status == 200
            assert await daemon.process.stop() == 0
            said = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(systemd, 100), 10)
            assert said == b"STOPPING=1"


async def test_a_daemon_that_is_its_own_upstream_says_so(tmp_path: Path) -> None:
    daemon = Running(tmp_path)
    daemon.write(registry(daemon.url))
    async with daemon:
        answer = await ask(f"{daemon.url}/v2/team/app/manifests/1.0")
        assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (508, "LOOP_DETECTED")


async def test_two_daemons_that_ask_each_other_find_out(tmp_path: Path) -> None:
    directories = tmp_path / "one", tmp_path / "two"
    for directory in directories:
        directory.mkdir()
    one, two = map(Running, directories)
    one.write(registry(two.url))
    two.write(registry(one.url))
    async with one, two:
        answer = await ask(f"{one.url}/v2/team/app/blobs/{Digest.of(b'')}")
        assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (508, "LOOP_DETECTED")


async def test_a_daemon_started_again_knows_what_it_held(tmp_path: Path, shelf: Shelf, upstream: str) -> None:
    async with Running(tmp_path, registry(upstream)) as daemon:
        assert (await ask(f"{daemon.url}/v2/team/app/manifests/1.0")).status == 200
        assert await daemon.process.stop() == 0
        asked = shelf.count("open")
        await daemon.process.start(lambda: wait_ready(daemon))
        again = await ask(f"{daemon.url}/v2/team/app/manifests/1.0")
        assert (again.status, shelf.count("open")) == (200, asked)


async def wait_ready(daemon: Running) -> bool:
    return "pulls on " in daemon.log.read_text().rpartition("stopping: ")[2]
