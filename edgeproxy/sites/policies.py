"""Replication policies: what is to go where, when, and who waits for it. Pure."""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from edgeproxy.oci.reference import Repository
from edgeproxy.sites.filters import Chain
from edgeproxy.sites.schedule import Schedule

Mode = Literal["async", "semi-sync", "sync"]
"""Whom a push waits for: nobody, one target, or all of them."""


class Change(NamedTuple):
    """A manifest that was pushed, by tag or by digest alone, or a tag that was deleted."""

    repository: Repository
    tag: str | None
    media_type: str
    artifact_type: str | None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class ReplicationPolicy:
    """What passes the chain goes to the targets."""

    name: str
    chain: Chain
    targets: tuple[str, ...] = ()
    on_event: bool = True
    schedule: Schedule | None = None
    deletions: bool = False
    mode: Mode = "async"
    timeout: float = 30.0
    """Seconds that a push waits for the targets that `mode` asks for."""

    def sends_to(self, target: str) -> bool:
        """`targets` are names, or shell patterns for the names of those that are registered."""
        return any(fnmatchcase(target, pattern) for pattern in self.targets)

    def wants(self, change: Change) -> bool:
        """Deletions have no type to go by."""
        if change.deleted:
            untyped = replace(self.chain, media_types=(), artifact_types=())
            return self.deletions and untyped.passes(change.repository, change.tag, "", None)
        return self.chain.passes(change.repository, change.tag, change.media_type, change.artifact_type)


@dataclass(frozen=True, slots=True)
class PullPolicy:
    """What passes the chain in the registry `source` is brought here."""

    name: str
    chain: Chain
    source: str
    on_event: bool = True
    schedule: Schedule | None = None
    deletions: bool = False
    likely: bool = False
    """Of tags that the registry tells of, only those are brought that are likely to be asked for here."""

    def named(self) -> list[Repository]:
        """The repositories that its filters name exactly: nobody has to be asked which there are."""
        projects = [each.text for each in self.chain.projects if each.is_name] or [self.source]
        images = [each.text for each in self.chain.images if each.is_name]
        found = (f"{project}/{image}" for project in projects for image in images)
        return [
            Repository(self.source, name.removeprefix(f"{self.source}/"))
            for name in found
            if name.startswith(f"{self.source}/")
        ]


def satisfied(mode: Mode, delivered: int, targets: int) -> bool:
    """Whether a push may be answered; without a target there is nobody to wait for."""
    match mode:
        case "async":
            return True
        case "semi-sync":
            return delivered > 0 or targets == 0
        case "sync":
            return delivered >= targets
