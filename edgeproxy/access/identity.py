"""Who somebody is, once that is proven."""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What may be done with a repository; each role may all that the lower ones may."""

    PULLER = 1
    PUSHER = 2
    REPLICATOR = 3
    """Pushes on behalf of another site, deletions included."""
    OPERATOR = 4


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says that its bearer may do: `name` is `registry/repository`, or a shell pattern of such."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True)
class Identity:
    """`grants`: a token that has them allows this and no more; `None` leaves it to the rules."""

    name: str = ""
    """Empty for somebody who is anonymous."""
    groups: frozenset[str] = frozenset()
    grants: frozenset[Grant] | None = None

    def __str__(self) -> str:
        return repr(self.name) if self.name else "anonymous"


ANONYMOUS = Identity()
