"""What happened to content lately."""

from pathlib import Path

from edgeproxy.cache.chronicle import Chronicle
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned
from tests.cache.core import HERE, Setting, running
from tests.fakes.clock import ManualClock


def test_the_newest_events_are_known() -> None:
    clock = ManualClock(100.0)
    chronicle, one = Chronicle(clock), Digest.of(b"one")
    assert chronicle.of(one) == ()
    for number in range(20):
        chronicle.note([one], "fetched", str(number))
        clock.advance(1.0)
    assert [(event.time, event.detail) for event in chronicle.of(one)][-1] == (119.0, "19")
    assert len(chronicle.of(one)) == 8


def test_what_nothing_was_told_of_for_longest_is_forgotten() -> None:
    chronicle = Chronicle(ManualClock())
    first, second = Digest.of(b"first"), Digest.of(b"second")
    chronicle.note([first, second], "fetched", "")
    chronicle.note([first], "evicted", "")
    chronicle.note([Digest.of(str(number).encode()) for number in range(19_999)], "fetched", "")
    assert [event.what for event in chronicle.of(first)] == ["fetched", "evicted"]
    assert chronicle.of(second) == ()


async def test_what_comes_and_goes_is_noted(tmp_path: Path) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(4)]
    async with running(tmp_path, Setting(budget=1_000_000)) as core:
        for body in bodies:
            core.first.blob(HERE, body)
            await core.get("blobs", Pinned(HERE, Digest.of(body)))
            await core.settled()
            core.clock.advance(86400)
        events = core.chronicle.of(Digest.of(bodies[0]))
    assert [(event.what, event.detail.partition(",")[0]) for event in events] == [
        ("fetched", "from first"),
        ("evicted", f"{events[1].detail.split()[0]} bytes were needed"),
    ]
