"""What was answered is recorded and learned from; addresses are not."""

import os
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path

import pytest

from edgeproxy.interfaces import Access, Checked, Contents
from edgeproxy.jobs.refit import Refit
from edgeproxy.oci.digest import Digest
from edgeproxy.predict.model import Model
from edgeproxy.predict.shipped import shipped
from edgeproxy.replay.site import Site
from edgeproxy.store.record import Record, read
from tests.api.conftest import HERE, Proxy, serving
from tests.fakes.clock import ManualClock

LAYER = b"a layer" * 100


async def pull(proxy: Proxy) -> None:
    await proxy.ask(f"/v2/{HERE}/manifests/1.0", method="HEAD")
    await proxy.ask(f"/v2/{HERE}/manifests/1.0")
    await proxy.ask(f"/v2/{HERE}/blobs/{Digest.of(LAYER)}")
    await proxy.keeps(LAYER)
    await proxy.ask_front(f"/v2/{HERE}/blobs/{Digest.of(LAYER)}")
    await proxy.ask(f"/v2/{HERE}/manifests/none")


async def learn(proxy: Proxy) -> None:
    (job,) = [job for job in proxy.daemon.judgement.jobs() if job.name == "learn"]
    await job.step()


async def test_a_pull_is_in_the_record(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as proxy:
        manifest = proxy.shelf.image(HERE, "1.0", [LAYER])
        await pull(proxy)
        await learn(proxy)
        data = proxy.daemon.layout.data
        found = list(read([data / "record"]))
        document = proxy.daemon.judgement.document()
    asked = [each for each in found if isinstance(each, Access)]
    assert [(each.method, each.kind, each.outcome) for each in asked] == [
        ("HEAD", "manifests", "miss"),
        ("GET", "manifests", "miss"),
        ("GET", "blobs", "miss"),
        ("GET", "blobs", "hit"),
        ("GET", "manifests", "refused"),
    ]
    assert [each.sent for each in asked][2:4] == [len(LAYER)] * 2
    assert [each.digest for each in asked] == [manifest.digest] * 2 + [Digest.of(LAYER)] * 2 + [None]
    (contents,) = [each for each in found if isinstance(each, Contents)]
    assert contents.manifest.digest == manifest.digest
    assert Digest.of(LAYER) in {each.digest for each in contents.names}
    checked = [each for each in found if isinstance(each, Checked)]
    assert [(each.tag.name, each.descriptor is None) for each in checked] == [("1.0", False), ("none", True)]
    assert b"127.0.0.1" not in b"".join(file.read_bytes() for file in (data / "record").iterdir())
    assert document is not None
    assert document["governs"] == "model"
    assert document["known"] >= 2


async def test_before_anything_leaves_the_policy_knows_all_that_was_answered(tmp_path: Path) -> None:
    layers = [bytes([number]) * 700 for number in range(8)]
    clock = ManualClock(1_000_000_000.0)
    async with serving(tmp_path, {"cache": {"budget": "3000B"}}, clock=clock) as proxy:
        proxy.shelf.image(HERE, "1.0", layers)
        await learn(proxy)  # of the past there is nothing
        for layer in layers:
            await proxy.ask(f"/v2/{HERE}/blobs/{Digest.of(layer)}")
            await proxy.keeps(layer)
        document, record = proxy.daemon.judgement.document(), proxy.daemon.layout.data / "record"
        assert document is not None
        assert document["known"] >= len(layers) - 2, "but for the last that came"
        assert not list(read([record])), "it is recorded many at a time"
        clock.time += 10.0
        await learn(proxy)
        assert [each.digest for each in read([record]) if isinstance(each, Access)] == list(map(Digest.of, layers))


async def test_what_is_recorded_goes_by_the_clock_that_the_daemon_was_given(tmp_path: Path) -> None:
    clock = ManualClock(1_000_000_000.0)
    async with serving(tmp_path, {}, clock=clock) as proxy:
        proxy.shelf.image(HERE, "1.0", [LAYER])
        await pull(proxy)
        await learn(proxy)
        found = list(read([proxy.daemon.layout.data / "record"]))
    assert {each.time for each in found} == {clock.time}
    assert {"hit", "miss", "refused"} == {each.outcome for each in found if isinstance(each, Access)}


async def test_a_restart_remembers(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as proxy:
        proxy.shelf.image(HERE, "1.0", [LAYER])
        await pull(proxy)
        client = (await _explained(proxy))["worth"]
    async with serving(tmp_path, {}) as proxy:
        assert proxy.daemon.judgement.document()["governs"] == "fixed"  # type: ignore[index]
        assert (await _explained(proxy))["worth"] == pytest.approx(client, rel=0.05)


async def test_news_come_after_the_past(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as proxy:
        proxy.shelf.image(HERE, "1.0", [LAYER])
        await pull(proxy)
        await proxy.daemon.judgement.inform()
        assert proxy.daemon.judgement.document()["known"] == 0  # type: ignore[index]
        await learn(proxy)
        assert proxy.daemon.judgement.document()["known"] >= 2  # type: ignore[index]


async def _explained(proxy: Proxy) -> Mapping[str, float]:
    await learn(proxy)
    found = await proxy.daemon.judgement.explain(Digest.of(LAYER))
    assert found is not None
    assert found["contributions"]
    return found


async def test_nothing_is_recorded_where_nothing_is_learned(tmp_path: Path) -> None:
    async with serving(tmp_path, {"learn": {"enabled": False}}) as proxy:
        proxy.shelf.image(HERE, "1.0", [LAYER])
        await pull(proxy)
        assert proxy.daemon.judgement.jobs() == []
        assert proxy.daemon.judgement.document() is None
        assert not (proxy.daemon.layout.data / "record").exists()


@pytest.mark.parametrize("damage", [b"", b"edgeproxy model\n" + bytes(200), None])
async def test_a_model_that_cannot_be_used_is_said_and_the_shipped_one_judges(
    tmp_path: Path, damage: bytes | None
) -> None:
    async with serving(tmp_path, {}) as proxy:
        directory = proxy.daemon.layout.data / "model"
    whole = shipped().dump()
    (directory / "current.model").write_bytes(whole[:-1] if damage is None else damage)
    async with serving(tmp_path, {}) as proxy:
        document = proxy.daemon.judgement.document()
    assert document is not None
    assert document["model"] == "shipped"
    assert "the site model cannot be used" in document["trouble"]


# fitting


@pytest.fixture
def adopted() -> list[Model]:
    return []


def refit(
    tmp_path: Path, clock: ManualClock, adopted: list[Model], wanted: Callable[[], float] = lambda: -inf
) -> Refit:
    def adopt(file: Path) -> str:
        adopted.append(Model.load(file.read_bytes()))
        return ""

    budget = 10**12  # all fits, and no model is worse than another
    return Refit(tmp_path / "model", tmp_path / "record.jsonl", 86400.0, budget, clock, adopt, wanted)


async def test_too_little_is_no_model_and_is_tried_again_a_day_later(
    tmp_path: Path, adopted: list[Model], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "record.jsonl").touch()
    caplog.set_level("INFO")
    clock = ManualClock()
    for expected in (1, 1, 2):
        await refit(tmp_path, clock, adopted).step()
        assert caplog.text.count("no model of this site's own yet") == expected
        clock.advance(0.6 * 86400)
    assert "too few" in caplog.text
    assert adopted == []
    assert os.listdir(tmp_path / "model") == ["attempted"]


async def test_the_site_has_a_model_of_its_own(
    tmp_path: Path, adopted: list[Model], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    clock, record = ManualClock(), Record(tmp_path / "record.jsonl", 10**8)
    happenings = list(Site(5, days=9.0, services=40, nodes=20).happenings())
    later = happenings[0].time + 8 * 86400.0
    record.append([each for each in happenings if each.time < later])
    await refit(tmp_path, clock, adopted).step()
    (first,) = adopted
    assert first.dump() == (tmp_path / "model" / "current.model").read_bytes()
    clock.advance(86400.0)
    await refit(tmp_path, clock, adopted).step()
    assert "too few to judge by" in caplog.text  # nothing has happened since
    assert len(adopted) == 1
    record.append([each for each in happenings if each.time >= later])
    clock.advance(86400.0)
    await refit(tmp_path, clock, adopted).step()
    assert len(adopted) == 2
    assert sorted(os.listdir(tmp_path / "model")) == ["attempted", "current.model", "previous.model"]


async def test_a_model_that_is_worse_is_fitted_anew_at_once_and_once(
    tmp_path: Path, adopted: list[Model], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "record.jsonl").touch()
    caplog.set_level("INFO")
    clock, suspended = ManualClock(), [-inf]
    for expected in (1, 1, 2, 2):
        await refit(tmp_path, clock, adopted, lambda: suspended[-1]).step()
        assert caplog.text.count("no model of this site's own yet") == expected
        clock.advance(600.0)
        if expected == 1:
            suspended.append(clock.now() - 1200.0 if len(suspended) == 1 else clock.now())
