from collections import Counter
from itertools import islice, pairwise

from edgeproxy.interfaces import Access, Contents, Happening
from edgeproxy.oci.reference import Tag
from edgeproxy.replay.requests import trace
from edgeproxy.replay.simulate import compulsory, missed
from edgeproxy.replay.site import Site

SMALL = Site(5, days=8.0, services=40, nodes=20)
HAPPENINGS = list(SMALL.happenings())


def test_the_same_seed_is_the_same_site() -> None:
    assert list(islice(SMALL.happenings(), 2000)) == HAPPENINGS[:2000]
    assert list(islice(Site(6, days=8.0, services=40, nodes=20).happenings(), 50)) != HAPPENINGS[:50]
    assert SMALL.shifted() != SMALL


def test_it_happens_in_the_order_of_time() -> None:
    assert all(one.time <= other.time for one, other in pairwise(HAPPENINGS))
    assert HAPPENINGS[-1].time - HAPPENINGS[0].time < 8.1 * 86400


def test_what_a_manifest_names_is_said_before_it_is_asked_for() -> None:
    said: set[str] = set()
    for happening in HAPPENINGS:
        if isinstance(happening, Contents):
            said |= {happening.manifest.digest, *(named.digest for named in happening.names)}
        elif isinstance(happening, Access):
            assert happening.digest in said


def test_demand_is_skewed_and_layers_are_shared() -> None:
    asked = Counter(one.digest for one in accesses(HAPPENINGS) if one.method == "GET")
    counts = sorted(asked.values(), reverse=True)
    assert sum(counts[: len(counts) // 10]) > 0.3 * sum(counts)
    named = Counter(part.digest for one in HAPPENINGS if isinstance(one, Contents) for part in one.names)
    assert max(named.values()) > 5


def test_most_layers_are_small_and_most_bytes_are_in_large_ones() -> None:
    sizes = {one.digest: one.size for one in accesses(HAPPENINGS) if one.kind == "blobs"}
    assert sum(size < 1e6 for size in sizes.values()) > 0.5 * len(sizes)
    assert sum(size for size in sizes.values() if size > 1e7) > 0.6 * sum(sizes.values())


def accesses(happenings: list[Happening]) -> list[Access]:
    return [happening for happening in happenings if isinstance(happening, Access)]


def test_some_tags_move_and_others_do_not() -> None:
    named: dict[Tag, set[str]] = {}
    for one in accesses(HAPPENINGS):
        if isinstance(one.reference, Tag) and one.digest is not None:
            named.setdefault(one.reference, set()).add(one.digest)
    moved = {tag.name for tag, digests in named.items() if len(digests) > 1}
    assert {"latest", "main", "stable"} & moved
    assert not any(name.count(".") == 2 for name in moved)


def test_everything_is_scanned_within_a_week() -> None:
    scanned = {one.reference.repository for one in accesses(HAPPENINGS) if one.client == 5000}
    services = {one.reference.repository for one in accesses(HAPPENINGS) if one.reference.repository.path[:4] == "team"}
    assert scanned <= services
    assert len(scanned) > 0.8 * len(services), "all but those that began since"


def test_there_is_more_to_be_won_than_what_is_new() -> None:
    """A cache that knew the future would miss far less than one that forgets what was used longest ago."""
    replayed = trace(HAPPENINGS, 2 * 86400)
    lru, best = (missed(replayed, policy, replayed.footprint // 10) for policy in ("lru", "belady"))
    assert compulsory(replayed).bytes < best.bytes < 0.8 * lru.bytes
