"""Of the line to upstream, and of which requests are one pull."""

from edgeproxy.interfaces import Access, Kind, Method
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.replay.link import Link
from edgeproxy.replay.registry import Published
from edgeproxy.replay.requests import trace
from edgeproxy.replay.simulate import USUAL, missed
from edgeproxy.replay.site import Site

SHOP = Repository("docker.io", "shop/app")


def test_clients_wait_for_each_other() -> None:
    link = Link(100.0, 0.5)
    assert link.fetch(1, 200, 10.0) == 12.5
    assert link.fetch(2, 100, 11.0) == 13.5
    assert link.here(1, 11.0) == 12.5
    assert link.here(1, 20.0) == 20.0
    assert link.here(9, 20.0) == 20.0


def test_what_is_brought_ahead_comes_when_nobody_waits() -> None:
    link = Link(100.0, 0.0)
    link.advance(0.0)
    link.bring(1, 300)
    link.bring(2, 100)
    assert link.fetch(9, 200, 0.0) == 2.0
    assert link.advance(3.0) == []
    assert link.is_on_its_way(1)
    assert link.advance(5.0) == [1]
    assert link.advance(5.5) == []
    assert link.fetch(2, 100, 5.5) == 6.0  # half of it is here
    assert not link.is_on_its_way(2)
    assert link.advance(9.0) == []


def ask(now: float, client: int, method: Method, kind: Kind, what: str) -> Access:
    digest = Digest.of(what.encode())
    reference = Tag(SHOP, "1.0") if kind == "manifests" else Pinned(SHOP, digest)
    return Access(now, client, method, kind, reference, digest, 10, "hit", 10, 0.0)


def test_a_pull_is_one_clients_and_one_images() -> None:
    found = trace(
        [
            ask(0, 1, "HEAD", "manifests", "a"),
            ask(1, 1, "GET", "manifests", "a"),
            ask(2, 1, "GET", "blobs", "layer"),
            ask(3, 2, "GET", "manifests", "a"),
            ask(500, 1, "GET", "blobs", "other"),
            ask(900, 1, "GET", "manifests", "b"),
            ask(901, 1, "GET", "blobs", "new"),
            ask(990, 1, "HEAD", "manifests", "b"),
            ask(991, 1, "GET", "blobs", "newer"),
        ],
        warm=0.0,
    )
    assert [each.pull for each in found.requests] == [0, 0, 1, 0, 2, 2, 3]
    assert found.firsts == {2}  # `a` was the first of all


def test_what_is_foreseen_is_here_when_it_is_rolled_out() -> None:
    published, site = list[Published](), Site(5, days=6.0, services=40, nodes=20)
    replayed = trace(site.happenings(published), 2 * 86400.0, published)
    budget = replayed.footprint // 2
    learned, foreseeing = (missed(replayed, policy, budget, None, USUAL) for policy in ("learned", "foreseeing"))
    assert learned.firsts == 0.0
    assert foreseeing.firsts > 0.5
    assert foreseeing.firsts_wait < learned.firsts_wait
    assert foreseeing.images < learned.images
    assert foreseeing.ahead > 0.0 == learned.ahead
    assert foreseeing.used > 0.7
    assert foreseeing.upstream < 1.1 * learned.upstream
    assert learned.upstream == learned.bytes
