"""What a site is likely to ask for, and lacks: new releases, the rest of an image, what recurs, what left too soon."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from edgeproxy.foreseen import Look, Wish
from edgeproxy.interfaces import Access, Checked, Happening
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Tag
from edgeproxy.predict.ahead import BUDGET, Ahead
from edgeproxy.predict.companions import SOON, Companions
from edgeproxy.predict.features import rows
from edgeproxy.predict.ledger import Ledger, key_of
from edgeproxy.predict.model import Model
from edgeproxy.predict.releases import Releases
from edgeproxy.predict.table import stamp

_SCANNER = 0.5
"""A client of which more than this share of requests was for what nobody wanted for a day: nobody waits for it."""
_HERE = 3600.0
"""Seconds since it was asked for in which something is still here, about."""
_IMAGES = 4096
"""Whose demand may recur: those asked for last."""
_SMALL = 65536
"""Bytes below which something takes no room worth to be freed."""
_LOOKED = 1800.0
"""Seconds between two looks at these."""


class Foresight:
    """Told of what the ledger is told of, after it."""

    def __init__(self, ledger: Ledger, budget: float = BUDGET) -> None:
        """`budget`: the share of incoming bytes that may be brought in vain."""
        self._ledger = ledger
        self.ahead = Ahead(budget)
        self._releases = Releases()
        self._companions = Companions()
        self._images: OrderedDict[Pinned, None] = OrderedDict()
        self._new: list[tuple[float, Wish]] = []
        """With when it came out."""
        self._looked = float("-inf")

    def observe(self, happening: Happening, slot: int) -> None:
        """`slot`: the ledger's, of what it is about."""
        if isinstance(happening, Access) and slot >= 0:
            self._asked(happening, slot)
        elif isinstance(happening, Checked) and happening.descriptor is not None:
            wish = self._releases.looked(happening.tag, happening.descriptor.digest, happening.time)
            if wish is not None and wish.chance >= self.ahead.bar:
                self._new.append((happening.time, wish))

    def _asked(self, access: Access, slot: int) -> None:
        assert access.digest is not None
        if access.method == "GET":
            key = self._ledger.objects.keys[slot]
            self.ahead.asked(key)
            self._companions.asked(key)
            if access.outcome == "miss":
                self.ahead.missed(access.size, again=self._ledger.objects.columns["uses"][slot] > 1)
        if access.kind != "manifests":
            return
        cold = self._ledger.coldness(access.client) >= _SCANNER
        if isinstance(access.reference, Tag) and not cold:
            self._releases.asked(access.reference, access.digest, access.time)
        if access.method == "GET":
            self._pulled(Pinned(access.reference.repository, access.digest), slot, access.time, cold=cold)

    def _pulled(self, image: Pinned, slot: int, now: float, *, cold: bool) -> None:
        self._images[image] = None
        self._images.move_to_end(image)
        if len(self._images) > _IMAGES:
            self._images.popitem(last=False)
        uses, last = self._ledger.objects.columns["uses"], self._ledger.objects.columns["last"]
        keys, newest = self._ledger.objects.keys, stamp(now - _HERE)
        for part in self._ledger.parts.of(slot):
            if last[part] < newest:
                self._companions.named(keys[part], ("rest", cold, uses[part] > 0), image, now)

    def due(self, now: float, most: int) -> list[Look]:
        return self._releases.due(now, most) if self.ahead.bar <= 1.0 else []

    def wishes(self, now: float, model: Model | None) -> list[Wish]:
        """The likeliest first; each is told once, and again when it is likely again."""
        found = [wish for since, wish in self._new if now - since < wish.within]
        self._new = []
        found += self._likely(self._companions.left(now), SOON)
        if model is not None and now - self._looked >= _LOOKED:
            self._looked = now
            found += self._likely(self._recurring(model, now), model.horizons[0])
        return sorted(found, key=lambda wish: -wish.chance)

    def choose(self, wish: Wish, lacking: Sequence[Descriptor], now: float) -> list[Descriptor]:
        """Of a new release, what others of its kind were asked for: clients have some of it from the one before."""
        keys = [key_of(blob.digest) for blob in lacking]
        if wish.keys:
            return [blob for blob, key in zip(lacking, keys, strict=True) if key in wish.keys]
        chosen = []
        for blob, key in zip(lacking, keys, strict=True):
            slot = self._ledger.objects.find(key)
            known = slot >= 0 and self._ledger.objects.columns["uses"][slot] > 0
            likely = self._companions.awaited(key, ("release", known, False), wish.within, now, 0.5 if known else 1.0)
            if wish.chance * likely >= self.ahead.bar:
                chosen.append(blob)
        return chosen

    def _likely(self, parts: Iterable[tuple[Pinned, int, float]], within: float) -> list[Wish]:
        """Of parts of images, those worth to be brought."""
        keys, chances = defaultdict[Pinned, set[int]](set), defaultdict[Pinned, float](float)
        for image, key, chance in parts:
            if chance >= self.ahead.bar:
                keys[image].add(key)
                chances[image] = max(chances[image], chance)
        return [Wish(image, chances[image], within, frozenset(some)) for image, some in keys.items()]

    def _recurring(self, model: Model, now: float) -> Iterable[tuple[Pinned, int, float]]:
        """All that images name which was asked for more than once and may have left: what is small has not."""
        columns = self._ledger.objects.columns
        last, uses, size = columns["last"], columns["uses"], columns["size"]
        oldest, newest = stamp(now - model.horizons[-1]), stamp(now - _HERE)
        wanted = {
            part: image
            for image in self._images
            for slot in [self._ledger.find(image.digest)]
            for part in (self._ledger.parts.of(slot) if slot >= 0 else ())
            if oldest < last[part] < newest and uses[part] > 1 and size[part] >= _SMALL
        }
        if not wanted:
            return []
        chances = model.chances(rows(self._ledger, np.array(list(wanted), np.intp), now))[:, 0].tolist()
        keys = self._ledger.objects.keys
        return [(image, keys[part], chance) for (part, image), chance in zip(wanted.items(), chances, strict=True)]
