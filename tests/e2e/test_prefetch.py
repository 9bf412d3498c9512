"""A list of images before a roll-out, at the shell: what is had and what is not, through a restart, and yielding."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.access.test_users import hashed
from tests.e2e.guarded import guarded
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery, Pusher, layer
from tests.parts.processes import wait_until
from tests.parts.registry import DockerRegistry
from tests.parts.relay import Fault, RecordingRelay

PRIVATE = '[registry."private.test"]\n[[registry."private.test".upstream]]\nurl = "{url}"\n'


async def edgeproxy(proxy: Edgeproxy | str, *words: str, stdin: str = "") -> tuple[int, str, str]:
    """Exit code, what was said, and what was complained of."""
    admin = proxy if isinstance(proxy, str) else proxy.admin
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "edgeproxy", *words, "--admin", admin,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    out, err = await process.communicate(stdin.encode())
    return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
async def proxy(
    tmp_path: Path, registry: DockerRegistry, relay: RecordingRelay, gallery: Gallery
) -> AsyncIterator[Edgeproxy]:
    users = tmp_path / "users"
    users.write_text(f"me:{hashed('secret')}\n")
    login = f"auth:\n  htpasswd:\n    realm: test\n    path: {users}\n"
    async with guarded(tmp_path, registry, login) as private:
        more = PRIVATE.format(url=private.url)
        async with Edgeproxy(tmp_path / "proxy", {"registry.test": relay.url}, more=more) as proxy:
            yield proxy


async def ten(registry: DockerRegistry) -> list[str]:
    """Seven that are there, one that is missing, one that is for another platform, one that is not for us."""
    async with aiohttp.ClientSession() as session:
        for number in range(5):
            await Pusher(session, registry.url, f"team/app{number}").image([layer(["json"], b"%d" % number)], "1.0")
    return [
        *(f"registry.test/team/app{number}:1.0" for number in range(5)),
        "registry.test/team/docker:1.0",
        "registry.test/team/zstd:1.0",
        "registry.test/team/absent:1.0",
        "registry.test/team/index:1.0",
        "private.test/team/docker:1.0",
    ]


async def test_each_image_of_a_list_has_its_result(proxy: Edgeproxy, registry: DockerRegistry) -> None:
    images = await ten(registry)
    text = "# before Friday\n" + "\n".join(f"{image}  # needed" for image in images)
    code, said, _ = await edgeproxy(
        proxy, "prefetch", "-f", "-", "--platform", "linux/s390x", "--wait", "--json", stdin=text
    )
    job: dict[str, Any] = json.loads(said)
    states = {image["name"]: (image["state"], " ".join(image["missing"])) for image in job["images"]}
    assert list(states) == images
    assert code == 1
    assert job["state"] == "failed"
    assert {name for name, (state, _) in states.items() if state == "done"} == set(images[:7])
    assert "unknown" in states[images[7]][1]
    assert "is not for linux/s390x" in states[images[8]][1]
    assert states[images[9]][0] == "failed"
    assert "login" in states[images[9]][1] or "denied" in states[images[9]][1]
    code, said, _ = await edgeproxy(proxy, "prefetch", "--follow", job["id"])
    assert code == 1
    assert "is not for linux/s390x" in said
    assert (await edgeproxy(proxy, "prefetch", *images[:7], "--wait"))[0] == 0


async def test_it_is_followed_as_events(proxy: Edgeproxy, registry: DockerRegistry) -> None:
    images = (await ten(registry))[:3]
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{proxy.admin}/api/v1/prefetch", json={"images": images}) as answer:
            place = answer.headers["Location"]
        async with session.get(f"{proxy.admin}{place}/events") as answer:
            assert answer.content_type == "text/event-stream"
            text = await answer.text()  # which ends when the job has ended
        async with session.get(f"{proxy.admin}/api/v1/prefetch/none/events") as answer:
            assert answer.status == 404
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    assert text.startswith("event: prefetch\n")
    assert events[-1]["state"] == "done"
    assert [image["name"] for image in events[-1]["images"]] == images


async def test_bars_show_what_is_on_its_way(proxy: Edgeproxy, relay: RecordingRelay, gallery: Gallery) -> None:
    held, layer_ = asyncio.Event(), gallery.docker.blobs[-1]
    relay.faults.append(Fault(path=layer_, at=1000, hold=held))
    screen, end = os.openpty()
    words = (sys.executable, "-m", "edgeproxy", "prefetch", "registry.test/team/docker:1.0", "--wait")
    process = await asyncio.create_subprocess_exec(
        *words,
        "--admin",
        proxy.admin,
        stdin=end,
        stdout=end,
        stderr=end,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(end)
    os.set_blocking(screen, False)
    shown = bytearray()

    def shows(text: str) -> bool:
        with contextlib.suppress(BlockingIOError, OSError):
            shown.extend(os.read(screen, 65536))
        return text in shown.decode(errors="replace")

    try:
        await wait_until(lambda: shows(layer_[:19]), "the layer has a bar")
        held.set()
        await wait_until(lambda: shows("done"), "it is said to be done")
        assert await process.wait() == 0
    finally:
        os.close(screen)


async def test_a_restart_goes_on_with_it(
    proxy: Edgeproxy, registry: DockerRegistry, relay: RecordingRelay, gallery: Gallery
) -> None:
    images = await ten(registry)
    held = Fault(path=gallery.docker.blobs[-1], at=100, hold=asyncio.Event())
    relay.faults.append(held)
    code, said, _ = await edgeproxy(proxy, "prefetch", *images[4:7])
    assert code == 0
    name = said.partition(":")[0]
    await wait_until(lambda: relay.asked("GET", gallery.docker.blobs[-1]) != [], "the second image is on its way")
    await proxy.kill()
    relay.faults.clear()
    assert held.hold is not None
    held.hold.set()
    before = len(relay.asked("GET", "team/app4"))
    await proxy.start()
    code, said, _ = await edgeproxy(proxy, "prefetch", "--follow", name)
    assert (code, said.count("done")) == (0, 3)
    assert len(relay.asked("GET", "team/app4")) == before  # what was done is not done again


async def test_it_is_cancelled_and_has_a_deadline(proxy: Edgeproxy, relay: RecordingRelay, gallery: Gallery) -> None:
    never = asyncio.Event()
    relay.faults.append(Fault(path=gallery.docker.blobs[-1], at=100, hold=never))
    _, said, _ = await edgeproxy(proxy, "prefetch", "registry.test/team/docker:1.0", "registry.test/team/zstd:1.0")
    name = said.partition(":")[0]
    await wait_until(lambda: relay.asked("GET", gallery.docker.blobs[-1]) != [], "it is on its way")
    async with aiohttp.ClientSession() as session:
        async with session.delete(f"{proxy.admin}/api/v1/prefetch/{name}") as answer:
            assert [image["state"] for image in (await answer.json())["images"]] == ["cancelled"] * 2
        async with session.delete(f"{proxy.admin}/api/v1/prefetch/none") as answer:
            assert answer.status == 404
    words = ["prefetch", "registry.test/team/zstd:1.0", "--wait", "--deadline", "2020-01-01T00:00:00Z"]
    code, said, _ = await edgeproxy(proxy, *words)
    assert (code, "not here by the deadline" in said) == (1, True)
    code, _, told = await edgeproxy(proxy, *words[:-1], "tomorrow")
    assert (code, "deadline is a time with its zone" in told) == (1, True)
    never.set()


async def test_figures_are_shown_at_the_shell(proxy: Edgeproxy) -> None:
    assert (await edgeproxy(proxy, "prefetch", "registry.test/team/docker:1.0", "--wait"))[0] == 0
    code, said, _ = await edgeproxy(proxy, "status")
    assert code == 0
    assert "saved today" in said
    code, said, _ = await edgeproxy(proxy, "status", "--json")
    assert json.loads(said)["prefetch"][0]["state"] == "done"
    code, said, _ = await edgeproxy(proxy, "upstreams")
    assert (code, "registry.test" in said) == (0, True)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["prefetch"], 2, "name images"),
        (["prefetch", "app:1", "--follow", "x"], 2, "name images"),
        (["prefetch", "UPPER/case"], 1, "UPPER"),
        (["prefetch", "--follow", "none"], 1, "there is no prefetch 'none'"),
        (["explain", "sha256:1"], 1, "sha256:1"),
        (["explain", f"sha256:{'0' * 64}"], 1, "nothing has been learned about"),
        (["status", "--x"], 2, "No such option"),
    ],
)
async def test_what_goes_wrong_is_told(proxy: Edgeproxy, words: list[str], code: int, told: str) -> None:
    found = await edgeproxy(proxy, *words)
    assert found[0] == code
    assert told in found[2]


async def test_a_daemon_that_is_not_there_is_told_apart() -> None:
    code, _, told = await edgeproxy("http://127.0.0.1:9", "status")
    assert (code, "name another by --admin" in told) == (3, True)
