"""Several sites come to hold the same, whatever was lost, doubled, late, cut off or crashed on the way."""

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sites.simulation import Topology, World
from tests.sites.states import VALUES

TAGS = ("1.0", "latest")
TOPOLOGIES = get_args(Topology)
HOUR = 3_600_000
SKEWS = st.lists(st.integers(-6 * HOUR, 6 * HOUR), min_size=2, max_size=5)
NUMBER = st.integers(0, 1_000)
WHAT = (*("write",) * 3, "delete", "retag", *("send",) * 3, *("deliver",) * 3)
FAULTS = ("again", "unanswered", "lose", "crash", "partition", "heal", "stop")
STEP = st.tuples(st.sampled_from((*WHAT, *FAULTS)), NUMBER, NUMBER, NUMBER)
STEPS = st.sampled_from([5, 20, 60]).flatmap(lambda most: st.lists(STEP, min_size=most // 2, max_size=most))


def play(world: World, steps: Sequence[tuple[str, int, int, int]]) -> None:
    for what, who, tag, pick in steps:
        world.now_ms += pick
        _step(world, what, list(world.sites)[who % len(world.sites)], TAGS[tag % len(TAGS)], pick)


def _step(world: World, what: str, source: str, tag: str, pick: int) -> None:
    match what:
        case "write":
            world.write(source, tag, VALUES[pick % len(VALUES)])
        case "delete" if tag in world.sites[source].shown():
            world.write(source, tag, None)
        case "retag" if TAGS[0] in world.sites[source].tags:
            world.write(source, TAGS[1], world.sites[source].tags[TAGS[0]].descriptor)
        case "send":
            world.send(source, pick)
        case "deliver" | "again" | "unanswered":
            world.deliver(pick, again=what == "again", answered=what != "unanswered")
        case "lose":
            world.lose(pick)
        case "crash":
            world.crash(source)
        case "partition":
            world.partition(world.links[pick % len(world.links)])
        case "heal":
            world.cut.clear()
        case "stop":
            world.stop(source, pick)


def assert_converged(world: World) -> None:
    """All show the same: of each tag the greatest write. And nothing was news to a site twice."""
    latest = {tag: max(written, key=lambda state: state.version[:2]) for tag, written in world.written.items()}
    expected = {tag: state.descriptor.digest for tag, state in latest.items() if state.descriptor}
    assert [site.shown() for site in world.sites.values()] == [expected] * len(world.sites)
    for site in world.sites.values():
        assert len(set(site.applied)) == len(site.applied)


@pytest.mark.parametrize("topology", TOPOLOGIES)
@settings(max_examples=250, deadline=None)
@given(skews=SKEWS, steps=STEPS, pick=NUMBER)
def test_all_sites_come_to_hold_the_same(
    topology: Topology, skews: list[int], steps: list[tuple[str, int, int, int]], pick: int
) -> None:
    world = World(topology, skews)
    play(world, steps)
    world.quiesce(pick)
    if not any(what == "stop" for what, *_ in steps):
        assert_converged(world)
    world.compare()
    world.quiesce(pick)
    assert_converged(world)
    world.compare()
    assert not any(site.outbox for site in world.sites.values())


@pytest.mark.parametrize("topology", TOPOLOGIES)
@settings(deadline=None)
@given(skews=SKEWS, who=NUMBER, pick=NUMBER)
def test_what_was_written_in_knowledge_of_all_holds_whatever_the_clocks_say(
    topology: Topology, skews: list[int], who: int, pick: int
) -> None:
    world = World(topology, skews)
    names = list(world.sites)
    for name in names:
        world.write(name, "1.0", VALUES[0])
    world.quiesce(pick)
    for value in (VALUES[1], None, VALUES[2]):
        world.write(names[who % len(names)], "1.0", value)
        world.quiesce(pick)
        assert {site.shown().get("1.0") for site in world.sites.values()} == {value.digest if value else None}


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("sites", [2, 3, 4, 5])
def test_a_write_crosses_each_line_at_most_twice(topology: Topology, sites: int) -> None:
    """Once in each direction at the worst, where two pass it on to each other; from a hub nothing comes back."""
    world = World(topology, [0] * sites)
    world.write("edge-1", "1.0", VALUES[0])
    world.quiesce()
    assert_converged(world)
    assert world.deliveries <= (1 if topology == "hub" else 2) * len(world.links)
    assert [len(site.applied) for site in world.sites.values()].count(1) == sites - 1


def test_sites_that_were_apart_keep_one_of_two_writes_and_it_is_the_later() -> None:
    world = World("ring", [0, 0, 0])
    for link in world.links:
        world.partition(link)
    world.write("edge-0", "1.0", VALUES[0])
    world.now_ms += 1
    world.write("edge-1", "1.0", VALUES[1])
    world.quiesce()
    assert_converged(world)
    assert world.sites["edge-2"].shown() == {"1.0": VALUES[1].digest}


def test_a_task_that_was_stopped_is_made_good_by_the_next_comparison() -> None:
    world = World("hub", [0, 0, 0])
    world.write("edge-1", "1.0", VALUES[0])
    world.stop("edge-1", 0)
    world.quiesce()
    assert world.sites["edge-2"].shown() == {}
    world.compare()
    world.quiesce()
    assert_converged(world)
    assert world.sites["edge-2"].shown() == {"1.0": VALUES[0].digest}
