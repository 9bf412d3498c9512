"""The status page in a real browser, while a real client pulls."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgeproxy.replay.site import Site
from edgeproxy.store.record import Record
from tests.parts.browser import Browser, browser
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.processes import need, run, wait_until
from tests.parts.relay import Fault, RecordingRelay

PICTURES = os.environ.get("PICTURES_OF_THE_PAGE")
"""A directory for the documentation's pictures; without it they go where the test's other files are."""
VIEWS = {"light": ("light", 1280, 1680), "dark": ("dark", 1280, 1680), "phone": ("light", 390, 2400)}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as page:
        yield page


@pytest.fixture
def page(chromium: Browser) -> Iterator[Browser]:
    """Nothing is left of it when its test is over: no page that goes on to look for its daemon, and no log."""
    yield chromium
    chromium.driver.get("about:blank")
    chromium.hosts(), chromium.complaints()


@pytest.fixture
async def proxy(tmp_path: Path, relay: RecordingRelay, gallery: Gallery) -> AsyncIterator[Edgeproxy]:
    """It remembers two days."""
    proxy = Edgeproxy(tmp_path / "proxy", {"registry.test": relay.url})
    Record(proxy.data / "record", 10**8).append(list(Site(5, days=2.0, services=40, nodes=20).happenings()))
    async with proxy:
        yield proxy


async def look(page: Browser, proxy: Edgeproxy) -> None:
    await asyncio.to_thread(page.driver.get, f"{proxy.admin}/")
    await says(page, "#state", "live")


async def says(page: Browser, selector: str, words: str) -> None:
    async def said() -> bool:
        return words in await asyncio.to_thread(page.text, selector)

    await wait_until(said, f"{selector} says {words!r}")


async def pull(proxy: Edgeproxy, image: str, place: Path) -> None:
    need("skopeo")
    source = f"docker://127.0.0.1:{proxy.port}/registry.test/{image}"
    await run("skopeo", "copy", "--quiet", "--src-tls-verify=false", source, f"dir:{place}")


async def test_the_figures_follow_what_clients_pull(
    page: Browser, proxy: Edgeproxy, relay: RecordingRelay, gallery: Gallery, tmp_path: Path
) -> None:
    await look(page, proxy)
    assert page.text("#hits-about") == "0 of 0 requests today"
    assert page.text("#flights") == "Nothing is being fetched."
    going_on = asyncio.Event()
    relay.faults.append(Fault(path=gallery.docker.blobs[-1], at=1000, hold=going_on))
    pulling = asyncio.create_task(pull(proxy, "team/docker:1.0", tmp_path / "first"))
    await says(page, "#flights", f"registry.test/team/docker@{gallery.docker.blobs[-1][:19]}")
    going_on.set()
    await pulling
    await says(page, "#flights", "Nothing is being fetched.")
    await says(page, "#today-about", "from upstream")
    await says(page, "#repositories", "registry.test/team/docker")
    before = page.text("#bytes")
    await pull(proxy, "team/docker:1.0", tmp_path / "second")
    await wait_until(lambda: page.text("#bytes") != before, "more of the bytes are hits")
    for plot, bars in (("#recent", 120), ("#days", 31)):
        assert page.count(f"{plot} .bar") == bars
        assert page.count(f'{plot} .fill-here:not([height="0"])') >= 1
    assert page.count("#upstreams .spark path") == 1
    assert page.count("#evictions li:not(.none)") >= 1
    assert page.hosts() == {urlsplit(proxy.admin).netloc}
    assert page.complaints() == []


@pytest.mark.parametrize("view", VIEWS)
async def test_it_is_read_by_day_and_by_night_and_on_a_phone(
    page: Browser, proxy: Edgeproxy, view: str, tmp_path: Path
) -> None:
    scheme, width, height = VIEWS[view]
    page.prefer(scheme)
    page.resize(width, height)
    for image in ("team/docker:1.0", "team/zstd:1.0", "team/docker:1.0"):
        await pull(proxy, image, tmp_path / f"{image.replace('/', '-')}-{os.urandom(4).hex()}")
    await look(page, proxy)
    await says(page, "#repositories", "registry.test/team/docker")
    await wait_until(lambda: page.count("#calibration .dot") >= 2, "there are points")
    assert page.width() == width, "nothing is wider than the view"
    ground = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(20, 21, 20)") is (scheme == "dark")
    picture = Path(PICTURES or tmp_path) / f"status-{view}.png"
    page.picture(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert page.complaints() == []


async def test_the_page_outlives_the_daemon(page: Browser, proxy: Edgeproxy) -> None:
    await look(page, proxy)
    await proxy.stop()
    await says(page, "#state", "trying again")
    await proxy.start()
    await says(page, "#state", "live")
    page.complaints()  # of the connection that was lost


async def test_what_the_model_expected_and_what_came(page: Browser, proxy: Edgeproxy) -> None:
    await look(page, proxy)
    await wait_until(lambda: page.count("#calibration .dot") >= 2, "there are points")
    assert page.count("#calibration .ideal") == 1
    assert page.count("#shadows dt.governs") == 1
    assert page.complaints() == []
