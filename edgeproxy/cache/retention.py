"""How long an image stays after it was last asked for: as long as its rules say at least, and at most, whatever was
learned; in between, where its registry can be asked for it again, as long as it is likely to be worth it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

from edgeproxy.cache.rules import Rule, Rules
from edgeproxy.interfaces import Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.store.catalog import Catalog


class Retention:
    """Judges; whoever asks acts. Reads the catalogue through, so in a thread."""

    def __init__(
        self,
        catalog: Catalog,
        rules: Rules,
        learned: Callable[[Reference], float] | None = None,
        reachable: Callable[[Repository], bool] = lambda repository: True,
    ) -> None:
        """`learned`: seconds, for the thread that it is learned in; `None` lets nothing go that no rule does."""
        self._catalog = catalog
        self._rules = rules
        self._learned = learned
        self._reachable = reachable

    @property
    def lets_go(self) -> bool:
        """Whether anything may go while there is room."""
        return self._learned is not None or self._rules.have("unused_for")

    def kept(self, held: Sequence[Held], now: float) -> set[Digest]:
        """The manifests that have to stay, with all they name."""
        if not self._rules.have("kept_for"):
            return set()
        manifests = {blob.digest: blob for blob in held if blob.needs}
        return {
            manifest.digest
            for manifest, names in self._named(manifests.values())
            if _used(manifest, manifests) + max((self._rule(name).kept_for or 0.0 for name in names), default=0.0) > now
        }

    def over(self, images: Iterable[Held], now: float) -> list[Digest]:
        """Those whose time is over; each is `used` when any part of it was."""
        return [
            image.digest
            for image, names in self._named(images)
            if image.used + max(map(self._ttl, names), default=inf) <= now
        ]

    def ttl(self, digest: Digest) -> float:
        """Seconds after it was last asked for; without bound where it stays until its room is needed."""
        ((_, names),) = self._named([Held(digest, 0, 0.0, 0.0)])
        return max(map(self._ttl, names), default=inf)

    def _ttl(self, name: Reference) -> float:
        rule = self._rule(name)
        learned = self._learned(name) if self._learned and self._reachable(name.repository) else inf
        return min(inf if rule.unused_for is None else rule.unused_for, max(learned, rule.kept_for or 0.0))

    def _rule(self, name: Reference) -> Rule:
        """What no tag names is matched as a tag without a name."""
        return self._rules.of(name if isinstance(name, Tag) else Tag(name.repository, ""))

    def _named(self, images: Iterable[Held]) -> Iterable[tuple[Held, Sequence[Reference]]]:
        """With the tags of each; of what has none with what shows it."""
        tags = defaultdict[Digest, list[Reference]](list)
        for tag, record in self._catalog.all_tags():
            tags[record.descriptor.digest].append(tag)
        for image in images:
            yield image, tags.get(image.digest) or self._shown(image.digest)

    def _shown(self, digest: Digest) -> Sequence[Reference]:
        return [Pinned(repository, digest) for _, repository in self._catalog.shown(digest)]


def _used(manifest: Held, manifests: Mapping[Digest, Held]) -> float:
    """When it was asked for, or one that it names."""
    return max([manifest.used, *(manifests[digest].used for digest in manifest.needs if digest in manifests)])
