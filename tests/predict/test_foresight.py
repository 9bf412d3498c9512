"""What a site is likely to want, told from what it wanted."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from edgeproxy.foreseen import Wish
from edgeproxy.interfaces import Access, Checked, Contents, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.oci.releases import newest
from edgeproxy.predict.ahead import Ahead
from edgeproxy.predict.companions import Companions
from edgeproxy.predict.foresight import Foresight
from edgeproxy.predict.ledger import Ledger, key_of
from edgeproxy.predict.model import Model
from edgeproxy.predict.releases import Releases
from tests.predict.test_learned import model_of

SHOP = Repository("docker.io", "shop/app")
LATEST = Tag(SHOP, "latest")
NOW, DAY = 1_700_000_000.0, 86400.0
SIZE = 100_000
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(what: object) -> Digest:
    return Digest.of(str(what).encode())


def described(what: object, media_type: str = OCI_MANIFEST) -> Descriptor:
    return Descriptor(media_type, digest(what), SIZE)


class Site:
    """Tells a foresight what its ledger is told of."""

    def __init__(self, waste: float = 0.05, model: Model | None = None) -> None:
        self.ledger = Ledger()
        self.foresight = Foresight(self.ledger, waste)
        self.model = model

    def tell(self, *happenings: Happening) -> None:
        for happening in happenings:
            self.foresight.observe(happening, self.ledger.observe(happening))

    def pull(
        self, now: float, reference: Reference, image: object, parts: Sequence[object] = (), client: int = 1
    ) -> None:
        """The manifest, and these of what it names."""
        found = digest(image)
        self.tell(Access(now, client, "GET", "manifests", reference, found, 1000, "miss", 1000, 0.0))
        for part in parts:
            pinned = Pinned(reference.repository, digest(part))
            self.tell(Access(now, client, "GET", "blobs", pinned, pinned.digest, SIZE, "miss", SIZE, 0.0))

    def look(self, now: float, tag: Tag, image: object) -> list[Wish]:
        """Upstream has it: what is wished for then."""
        self.tell(Checked(now, tag, described(image)))
        return self.wishes(now)

    def wishes(self, now: float) -> list[Wish]:
        return self.foresight.wishes(now, self.model)


def test_what_was_always_taken_over_is_wished_for_as_soon_as_it_is_out() -> None:
    site = Site()
    for day in range(4):
        site.pull(NOW + day * DAY, LATEST, day)
    assert site.look(NOW + 3.1 * DAY, LATEST, 3) == []  # that is what it was
    (wish,) = site.look(NOW + 4 * DAY, LATEST, 4)
    assert (wish.reference, wish.like) == (LATEST, digest(3))
    assert 0.7 < wish.chance < 1.0
    assert site.wishes(NOW + 4 * DAY) == []  # told once


def test_what_came_out_long_ago_is_not_wished_for() -> None:
    """A restart is told all of it again."""
    site = Site()
    for day in range(4):
        site.pull(NOW + day * DAY, LATEST, day)
    site.tell(Checked(NOW + 4 * DAY, LATEST, described(4)))
    assert site.wishes(NOW + 6 * DAY) == []


def test_a_later_version_is_news_and_an_earlier_one_is_not() -> None:
    site = Site()
    for minor in range(8, 11):
        site.pull(NOW + minor * DAY, Tag(SHOP, f"1.{minor}.0"), minor)
    site.pull(NOW + 11 * DAY, Tag(SHOP, "1.9.9"), "older")  # somebody goes back
    assert site.look(NOW + 12 * DAY, Tag(SHOP, "1.9.7"), "old") == []
    assert site.look(NOW + 12 * DAY, Tag(SHOP, "1.10.0"), 10) == []
    (wish,) = site.look(NOW + 12 * DAY, Tag(SHOP, "1.11.0"), "new")
    assert wish.reference == Tag(SHOP, "1.11.0")
    names = ["1.9.9", "1.12.0", "1.11.0", "2.0.0-rc1", "latest", "1.2"]
    assert newest(Tag(SHOP, "1.10.0"), names) == Tag(SHOP, "1.12.0")
    assert newest(Tag(SHOP, "3.0.0"), names) == Tag(SHOP, "3.0.0")


def test_what_nobody_takes_over_is_not_wished_for_again() -> None:
    site = Site()
    for day in range(3):
        site.pull(NOW + day * DAY, LATEST, day)
    asked = [bool(site.look(NOW + (3 + day) * DAY, LATEST, f"new {day}")) for day in range(6)]
    assert asked[0]
    assert not any(asked[3:])


def test_a_scanner_takes_nothing_over() -> None:
    site = Site()
    for image in range(200):  # it has looked at much that nobody else wants
        site.pull(NOW + image, Tag(Repository("docker.io", f"of/{image}"), "1.0"), f"of {image}", client=7)
    for day in range(4):
        site.pull(NOW + DAY + day * DAY, LATEST, day, client=7)
    assert site.look(NOW + 6 * DAY, LATEST, "new") == []
    assert site.foresight.due(NOW + 6 * DAY, 100) != []  # of the first few, before it was known for what it is
    assert LATEST not in {look.tag for look in site.foresight.due(NOW + 7 * DAY, 1000)}


def test_upstream_is_looked_at_where_releases_are_likely_and_no_more_than_may_be() -> None:
    releases, often, seldom = Releases(), Tag(SHOP, "main"), Tag(SHOP, "stable")
    for hour in range(0, 240, 6):
        releases.asked(often, digest(hour), NOW + hour * 3600.0)
        releases.asked(seldom, digest(hour // 120), NOW + hour * 3600.0)
    looked = {often: 0, seldom: 0}
    for second in range(0, 12 * 3600, 15):
        due = releases.due(NOW + 240 * 3600.0 + second, 1)
        assert len(due) <= 1
        for look in due:
            assert not look.by_name
            looked[look.tag] += 1
            releases.looked(look.tag, digest("as before"), NOW + 240 * 3600.0 + second)
    assert looked[often] > 2 * looked[seldom] > 0
    assert releases.due(NOW, 0) == []


def test_a_row_of_versions_is_looked_up_by_name() -> None:
    releases = Releases()
    releases.asked(Tag(SHOP, "1.2.3"), digest(1), NOW)
    (look,) = releases.due(NOW + DAY, 5)
    assert look == (Tag(SHOP, "1.2.3"), True)


def keys(*parts: object) -> frozenset[int]:
    return frozenset(key_of(digest(part)) for part in parts)


def image(site: Site, number: int, now: float) -> Pinned:
    parts = tuple(described(f"{number} {part}", LAYER) for part in range(3))
    site.tell(Contents(now, described(number), parts))
    return Pinned(SHOP, digest(number))


@pytest.mark.parametrize("follows", [True, False])
def test_the_rest_of_an_image_is_wished_for_where_clients_come_for_it(follows: bool) -> None:
    site = Site()
    for number in range(40):
        now = NOW + number * 3600.0
        pinned = image(site, number, now)
        site.pull(now, pinned, number, [f"{number} 0"])
        site.wishes(now + 5.0)
        if follows:
            site.pull(now + 60.0, pinned, number, [f"{number} 1", f"{number} 2"])
        site.wishes(now + 1200.0)
    now = NOW + DAY * 3
    site.pull(now, image(site, 99, now), 99, ["99 0"])
    assert site.wishes(now + 1.0) == []  # the client may ask for it by itself
    wishes = site.wishes(now + 3.0)
    expected = [(Pinned(SHOP, digest(99)), keys("99 1", "99 2"))] if follows else []
    assert [(wish.reference, wish.keys) for wish in wishes] == expected


def test_what_the_model_expects_soon_is_wished_for_where_it_may_have_left() -> None:
    """Where it was asked for more than once: four times, that is log2 of 5, makes it likely to this model."""
    site = Site(model=replace(model_of("uses", 2.1, -4.0, 4.0), horizons=(DAY,)))
    for number in (1, 2):
        site.pull(NOW, image(site, number, NOW), number, [f"{number} 0", f"{number} 1"] * 2)
    site.pull(NOW, image(site, 3, NOW), 3, ["3 0"])
    site.pull(NOW + 5.0, Pinned(SHOP, digest(2)), 2, ["2 1", "2 1"])
    site.wishes(NOW + 60.0)
    (wish,) = site.wishes(NOW + 7200.0)
    assert (wish.reference, wish.keys) == (Pinned(SHOP, digest(2)), keys("2 1"))
    assert site.wishes(NOW + 7300.0) == []  # they are not gone through again at once


def wish(chance: float = 0.9, within: float = 600.0) -> Wish:
    return Wish(LATEST, chance, within)


def test_what_became_of_what_was_brought_is_known() -> None:
    ahead = Ahead()
    for number in range(4):
        ahead.brought(number, 1000, wish(), NOW)
    ahead.asked(0)
    ahead.asked(0)
    ahead.asked(77)
    ahead.brought(1, 1000, wish(), NOW + 1.0)  # it had to leave meanwhile
    assert ahead.figures() == (5000, 1000, 1000)
    assert ahead.chance(2, NOW) == 0.9 > ahead.chance(2, NOW + 300.0) > 0.0
    assert ahead.chance(2, NOW + 601.0) == 0.0
    ahead.brought(9, 1000, wish(), NOW + 700.0)
    assert ahead.figures() == (6000, 1000, 4000)


def test_the_more_comes_in_vain_the_surer_it_must_be() -> None:
    ahead = Ahead(0.05)
    usual = ahead.bar
    assert usual == pytest.approx(0.5)
    for number in range(1000):
        ahead.brought(number, 1000, wish(within=30.0), NOW + number)
    assert ahead.bar > 0.95
    for _ in range(20_000):
        ahead.missed(1000, again=False)
    assert ahead.bar == pytest.approx(usual, abs=0.1)
    for number in range(20_000):
        ahead.missed(1000, again=number % 2 == 0)
    assert ahead.bar == pytest.approx(0.75, abs=0.05)  # half of what comes had to leave before


def test_where_nothing_may_be_in_vain_nothing_is_brought() -> None:
    site = Site(waste=0.0)
    for day in range(4):
        site.pull(NOW + day * DAY, LATEST, day)
    assert site.foresight.due(NOW + 5 * DAY, 10) == []
    assert site.look(NOW + 5 * DAY, LATEST, "new") == []


def test_what_is_awaited_is_not_known_as_used() -> None:
    ledger = Ledger()
    ledger.expect(digest(1), 1000, NOW)
    slot = ledger.find(digest(1))
    assert ledger.objects.columns["uses"][slot] == 0
    assert ledger.objects.columns["last"][slot] == 0


@pytest.mark.parametrize("takes_all", [True, False])
def test_of_a_release_comes_what_clients_did_not_have(takes_all: bool) -> None:
    site, base = Site(), described("base", LAYER)
    for day in range(12):
        now = NOW + day * DAY
        own = described(f"own {day}", LAYER)
        site.tell(Contents(now, described(day), (base, own)))
        wishes = site.look(now, LATEST, day)
        for wish in wishes:
            chosen = site.foresight.choose(wish, [base, own], now)
            assert own in chosen
        site.pull(now + 600.0, LATEST, day, [f"own {day}", "base"] if takes_all or not day else [f"own {day}"])
    assert (base in chosen) == takes_all
    some = Wish(Pinned(SHOP, digest(11)), 0.9, 600.0, keys("base"))
    assert site.foresight.choose(some, [base, own], NOW) == [base]


def test_what_is_not_asked_for_in_time_did_not_follow() -> None:
    companions, sign = Companions(), ("rest", False, False)
    usual = companions.awaited(0, sign, 600.0, NOW)
    for number in range(1, 40):
        companions.awaited(number, sign, 600.0, NOW)
        companions.asked(number)
    assert companions.awaited(50, sign, 600.0, NOW + 1.0) > 0.8 > usual
    for number in range(100, 300):
        companions.awaited(number, sign, 600.0, NOW + 2.0)
    assert companions.awaited(400, sign, 600.0, NOW + 700.0) < 0.3


def test_a_release_that_was_only_brought_is_none_for_the_ledger_yet() -> None:
    """Else what it shares with the one before would be taken for left."""
    site, base = Site(), described("base", LAYER)
    site.tell(Contents(NOW, described(1), (base,)))
    site.pull(NOW, LATEST, 1, ["base"])
    site.ledger.expect(digest(2), SIZE, NOW + DAY)
    site.tell(Checked(NOW + DAY, LATEST, described(2)))
    columns, slot = site.ledger.objects.columns, site.ledger.find(base.digest)
    assert columns["current"][slot] == 1
