"""Who somebody is, once that is proven."""

from dataclasses import dataclass, field
from enum import IntEnum

from edgeproxy.oci.credentials import Credentials


class Role(IntEnum):
    """What may be done with a repository; each role may all that the lower ones may."""

    PULLER = 1
    PUSHER = 2
    REPLICATOR = 3
    """Pushes on behalf of another site, deletions included."""
    OPERATOR = 4


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says that its bearer may do with `registry/repository`: that, and not what lower roles may.

    Its name is no pattern: who asks for a token chooses the names in it, and who signs them compares them with rules of
    his own.
    """

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


@dataclass(frozen=True, eq=False, slots=True)
class Caller:
    """Somebody who asks. Equal to itself only: what was decided about it is found again without comparing."""

    identity: Identity = ANONYMOUS
    own: Credentials | None = field(default=None, repr=False)
    """A login that is for upstream to judge, and for nobody else."""
    own_for: frozenset[str] = frozenset()
    """The registries that it is for; none leaves it to the requests that it came with."""
    trouble: str = ""
    """Why a login that was given is not believed; the caller is then who it would be without it."""

    def login_for(self, registry: str) -> Credentials | None:
        """What may be shown to this registry on the caller's behalf."""
        return self.own if not self.own_for or registry in self.own_for else None


NOBODY = Caller()
