"""Who may do what with which repository: one pure function decides.

Deny wins. Without a rule everybody may pull what is public, and nothing else.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple

from edgeproxy.access.identity import Grant, Identity, Role

_GROUP = "group:"


class Visibility(Enum):
    """Whether upstream shows a repository to anybody; what nobody knows counts as private."""

    PUBLIC = "public"
    PRIVATE = "private"


@dataclass(frozen=True, slots=True)
class Subjects:
    """Whom a rule is about."""

    names: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    anonymous: bool = False
    authenticated: bool = False

    @classmethod
    def parse(cls, words: Iterable[str]) -> "Subjects":
        """`alice`, `group:ci`, `anonymous`, `authenticated` (whoever is not anonymous), `*` (everybody)."""
        words = set(words)
        groups = {word.removeprefix(_GROUP) for word in words if word.startswith(_GROUP)}
        names = {word for word in words if not word.startswith(_GROUP)} - {"anonymous", "authenticated", "*"}
        everybody = "*" in words
        return cls(
            frozenset(names),
            frozenset(groups),
            everybody or "anonymous" in words,
            everybody or "authenticated" in words,
        )

    def include(self, identity: Identity) -> bool:
        if not identity.name:
            return self.anonymous
        return self.authenticated or identity.name in self.names or not self.groups.isdisjoint(identity.groups)


@dataclass(frozen=True, slots=True)
class Binding:
    """A rule: a role given to somebody on some repositories, or taken away.

    Given, it allows what the role and the lower ones may; taken away, it forbids what the role and the higher ones may:
    who may not pull may not push.
    """

    role: Role
    subjects: Subjects
    patterns: tuple[str, ...]
    """Shell patterns on `registry/repository`; `*` matches slashes, too."""
    deny: bool = False

    def is_about(self, identity: Identity, name: str) -> bool:
        return self.subjects.include(identity) and any(matches(pattern, name) for pattern in self.patterns)


class Reason(Enum):
    """Why something is allowed or refused."""

    DENIED = "a rule denies it"
    GRANTED = "the token grants it"
    ALLOWED = "a rule allows it"
    ROLE = "no rule gives the role that it takes"
    PUBLIC = "it is public"
    PROVEN = "upstream shows it to the caller"
    PRIVATE = "it is private"


class Verdict(NamedTuple):
    allowed: bool
    reason: Reason


def decide(
    identity: Identity,
    role: Role,
    name: str,
    visibility: Visibility,
    proven: bool,
    bindings: Sequence[Binding],
) -> Verdict:
    """Whether `identity` may do what takes `role` with the repository `name` (`registry/repository`).

    `name` is empty for what concerns no repository. `proven`: the caller's own credentials open it upstream.
    """
    about = [binding for binding in bindings if binding.is_about(identity, name)]
    if any(binding.deny and role >= binding.role for binding in about):
        return Verdict(False, Reason.DENIED)
    if identity.grants is not None:
        if Grant(name, role) in identity.grants:
            return Verdict(True, Reason.GRANTED)
    elif any(not binding.deny and role <= binding.role for binding in about):
        return Verdict(True, Reason.ALLOWED)
    if role > Role.PULLER:
        return Verdict(False, Reason.ROLE)
    if visibility is Visibility.PUBLIC:
        return Verdict(True, Reason.PUBLIC)
    if proven:
        return Verdict(True, Reason.PROVEN)
    return Verdict(False, Reason.PRIVATE)


def matches(pattern: str, name: str) -> bool:
    return _compiled(pattern).match(name) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


class Permitted:
    """The registries and repositories of which anything may be fetched and shown at all."""

    def __init__(self, allow: Sequence[str] = ("*",), deny: Sequence[str] = ()) -> None:
        """Shell patterns on `registry/repository`; `deny` wins."""
        self._allow = tuple(allow)
        self._deny = tuple(deny)

    def __contains__(self, name: str) -> bool:
        return any(matches(pattern, name) for pattern in self._allow) and not any(
            matches(pattern, name) for pattern in self._deny
        )
