"""What is chosen to leave, as a pure function."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.cache.eviction import next_to_leave, to_evict, to_evict_singly
from edgeproxy.interfaces import Held
from edgeproxy.oci.digest import Digest

NAMES = [Digest.of(bytes([number])) for number in range(16)]
LAYERS, MANIFESTS, INDEXES = NAMES[:8], NAMES[8:13], NAMES[13:]


def blob(digest: Digest, size: int = 10, used: float = 0.0, needs: Sequence[Digest] = (), pinned: bool = False) -> Held:
    return Held(digest, size, 0.0, used, pinned=pinned, needs=tuple(needs))


def by_use(held: Sequence[Held]) -> list[float]:
    return [each.used for each in held]


@st.composite
def catalogues(draw: st.DrawFn) -> list[Held]:
    """Indexes need manifests, manifests need layers; some of what is needed is not held, and some is pinned."""
    held = []
    levels: list[tuple[list[Digest], list[Digest]]] = [(LAYERS, []), (MANIFESTS, LAYERS), (INDEXES, MANIFESTS)]
    for names, below in levels:
        for digest in draw(st.sets(st.sampled_from(names))):
            needs = draw(st.lists(st.sampled_from(below), max_size=4)) if below else []
            pinned = draw(st.integers(0, 5)) == 0
            held.append(blob(digest, draw(st.integers(0, 100)), draw(st.integers(0, 9)), needs, pinned))
    return held


def closure(held: Sequence[Held], roots: Sequence[Digest]) -> set[Digest]:
    """The roots that are held, and whatever they need."""
    known = {each.digest: each for each in held}
    found: set[Digest] = set()
    pending = list(roots)
    while pending:
        digest = pending.pop()
        if digest in known and digest not in found:
            found.add(digest)
            pending.extend(known[digest].needs)
    return found


ANY = st.integers(0, 1500)


@given(catalogues(), ANY)
@settings(max_examples=150)
def test_enough_is_freed_unless_all_the_rest_is_pinned(held: list[Held], excess: int) -> None:
    chosen = to_evict(held, excess, by_use)
    assert len(chosen) == len(set(chosen))
    freed = sum(each.size for each in held if each.digest in chosen)
    if freed < excess:
        pinned = closure(held, [each.digest for each in held if each.pinned])
        assert {each.digest for each in held} == set(chosen) | pinned


@given(catalogues(), ANY)
@settings(max_examples=150)
def test_what_is_pinned_stays_with_all_that_it_needs(held: list[Held], excess: int) -> None:
    pinned = closure(held, [each.digest for each in held if each.pinned])
    assert not pinned & set(to_evict(held, excess, by_use))


@given(catalogues(), ANY)
@settings(max_examples=150)
def test_what_a_kept_manifest_needs_stays(held: list[Held], excess: int) -> None:
    chosen = set(to_evict(held, excess, by_use))
    kept = [each.digest for each in held if each.digest not in chosen]
    assert not closure(held, kept) & chosen


@given(catalogues(), ANY)
@settings(max_examples=150)
def test_no_image_leaves_once_enough_is_freed(held: list[Held], excess: int) -> None:
    """Without the last image that was chosen, and what left with it, too little had been freed."""
    chosen = to_evict(held, excess, by_use)
    sizes = {each.digest: each.size for each in held}
    needed = {need for each in held for need in each.needs}
    roots = [digest for digest in chosen if digest not in needed]
    if chosen:
        assert sum(sizes[digest] for digest in chosen[: chosen.index(roots[-1])]) < excess


@given(st.lists(st.integers(0, 100), min_size=1, max_size=len(LAYERS)), st.integers(0, 100))
def test_the_least_worth_leaves_first(used: list[int], excess: int) -> None:
    held = [blob(digest, 10, when) for digest, when in zip(LAYERS, used, strict=False)]
    chosen = to_evict(held, excess, by_use)
    assert len(chosen) == min(len(held), -(-excess // 10))
    assert sorted(each.used for each in held if each.digest in chosen) == sorted(used)[: len(chosen)]


def test_nothing_leaves_where_nothing_has_to() -> None:
    assert to_evict([blob(LAYERS[0])], 0, by_use) == []
    assert to_evict([], 100, by_use) == []


def test_an_image_leaves_as_a_whole() -> None:
    image = blob(MANIFESTS[0], 1, needs=LAYERS[:2])
    held = [image, blob(LAYERS[0], used=99), blob(LAYERS[1], used=99), blob(LAYERS[2], used=50)]
    assert set(to_evict(held, 1, by_use)) == {MANIFESTS[0], LAYERS[0], LAYERS[1]}


def test_a_shared_layer_outlives_the_image_that_goes() -> None:
    old = blob(MANIFESTS[0], 1, used=1, needs=[LAYERS[0], LAYERS[1]])
    new = blob(MANIFESTS[1], 1, used=2, needs=[LAYERS[1], LAYERS[2]])
    held = [old, new, *map(blob, LAYERS[:3])]
    assert set(to_evict(held, 1, by_use)) == {MANIFESTS[0], LAYERS[0]}
    assert set(to_evict(held, 12, by_use)) == {MANIFESTS[0], MANIFESTS[1], *LAYERS[:3]}


def test_an_index_leaves_with_its_manifests_and_their_layers() -> None:
    index = blob(INDEXES[0], 1, used=1, needs=MANIFESTS[:2])
    manifests = [blob(MANIFESTS[0], 1, needs=[LAYERS[0]]), blob(MANIFESTS[1], 1, needs=[LAYERS[1]])]
    held = [index, *manifests, *map(blob, LAYERS[:2]), blob(LAYERS[2], used=9)]
    assert set(to_evict(held, 1, by_use)) == {INDEXES[0], *MANIFESTS[:2], *LAYERS[:2]}


def test_a_manifest_of_a_kept_index_is_no_image_of_its_own() -> None:
    index = blob(INDEXES[0], 1, used=9, needs=[MANIFESTS[0]])
    held = [index, blob(MANIFESTS[0], 1, used=0, needs=[LAYERS[0]]), blob(LAYERS[0]), blob(LAYERS[1], used=5)]
    assert to_evict(held, 1, by_use) == [LAYERS[1]]


def test_an_image_is_judged_by_its_last_use_through_any_of_its_manifests() -> None:
    index = blob(INDEXES[0], 1, used=0, needs=[MANIFESTS[0]])
    held = [index, blob(MANIFESTS[0], 1, used=9, needs=[LAYERS[0]]), blob(LAYERS[0]), blob(LAYERS[1], used=5)]
    assert to_evict(held, 1, by_use) == [LAYERS[1]]


def test_an_image_is_judged_by_the_most_used_of_its_manifests() -> None:
    index = blob(INDEXES[0], 1, needs=[MANIFESTS[0]])
    manifest = replace(blob(MANIFESTS[0], 1, needs=[LAYERS[0]]), uses=9)
    held = [index, manifest, blob(LAYERS[0]), replace(blob(LAYERS[1]), uses=5)]
    assert to_evict(held, 1, lambda held: [each.uses for each in held]) == [LAYERS[1]]


def test_an_image_is_judged_by_what_it_takes_alone() -> None:
    seen: dict[Digest, Held] = {}

    def remember(held: Sequence[Held]) -> list[float]:
        seen.update((each.digest, each) for each in held)
        return [0.0] * len(held)

    images = [blob(MANIFESTS[0], 1, needs=LAYERS[:2]), blob(MANIFESTS[1], 2, needs=LAYERS[1:3])]
    to_evict([*images, *map(blob, LAYERS[:3])], 1, remember)
    assert {digest: held.size for digest, held in seen.items()} == {MANIFESTS[0]: 11, MANIFESTS[1]: 12}


def test_a_layer_that_no_held_manifest_needs_is_judged_alone() -> None:
    held = [blob(MANIFESTS[0], 1, used=5, needs=[LAYERS[0]]), blob(LAYERS[0]), blob(LAYERS[1], used=1)]
    assert to_evict(held, 1, by_use) == [LAYERS[1]]


def test_a_pinned_layer_outlives_its_image() -> None:
    held = [blob(MANIFESTS[0], 1, needs=LAYERS[:2]), blob(LAYERS[0], pinned=True), blob(LAYERS[1])]
    assert set(to_evict(held, 1000, by_use)) == {MANIFESTS[0], LAYERS[1]}


def test_what_is_needed_twice_by_one_manifest_is_counted_once() -> None:
    held = [blob(MANIFESTS[0], 1, needs=[LAYERS[0], LAYERS[0]]), blob(LAYERS[0])]
    assert sorted(to_evict(held, 1000, by_use)) == sorted([MANIFESTS[0], LAYERS[0]])


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("needs", [[0], [1, 0], [1, 2, 0]], ids=["itself", "each other", "in a ring"])
def test_a_ring_of_needs_ends(needs: list[int], pinned: bool) -> None:
    ring = [blob(MANIFESTS[place], 1, needs=[MANIFESTS[need]], pinned=pinned) for place, need in enumerate(needs)]
    above = blob(INDEXES[0], 1, used=1, needs=[MANIFESTS[0]])
    assert to_evict([*ring, blob(LAYERS[0])], 10, by_use) == [LAYERS[0]]
    assert INDEXES[0] in to_evict([*ring, above], 10, by_use)


@given(catalogues())
def test_what_would_leave_next_is_what_leaves_first(held: list[Held]) -> None:
    coming = next_to_leave(held, 3, by_use)
    assert [each.digest for each in coming[:1]] == to_evict(held, 1, by_use)[:1]
    assert all(not each.pinned for each in coming)


@given(catalogues(), st.integers(1, 200))
def test_singly_what_is_pinned_and_what_that_needs_stays(held: list[Held], excess: int) -> None:
    chosen = to_evict_singly(held, excess, by_use)
    staying = closure(held, [each.digest for each in held if each.pinned])
    sizes = {each.digest: each.size for each in held}
    assert not staying & set(chosen)
    assert sum(map(sizes.__getitem__, chosen)) >= min(
        excess, sum(sizes.values()) - sum(map(sizes.__getitem__, staying))
    )
    used = [each.used for digest in chosen for each in held if each.digest == digest]
    assert used == sorted(used)


@given(st.lists(st.integers(0, 30), max_size=400), st.integers(0, 4000))
def test_singly_the_least_worth_leaves_first_and_of_equals_the_first(used: list[int], excess: int) -> None:
    held = [blob(Digest.of(b"%d" % place), used=float(each)) for place, each in enumerate(used)]
    order = sorted(range(len(held)), key=lambda place: used[place])
    assert to_evict_singly(held, excess, by_use) == [held[place].digest for place in order[: -(-excess // 10)]]
