"""Which images a policy is about: a chain of filters over project, image, tag and types. Pure.

nginx                exactly this
team-*               a wildcard; `*` and `?` do not match a slash, `**` does
regex:v\\d+\\.\\d+   a regular expression of Python's that matches all of it
semver:>=1.2 <2      a range of semantic versions (npm's grammar), for tags; a leading v does not matter
!beta-*              whatever this matches is left out
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from semantic_version import NpmSpec, Version

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid
from edgeproxy.oci.reference import Repository

_PLAIN = re.compile(r"[A-Za-z0-9._/:+@ -]")
_COMPANION = re.compile(r"(sha256|sha512)-([0-9a-f]+)(?:[.-].*)?")
_LONGEST = 512
_SEMVER, _REGEX = "semver:", "regex:"


class FilterInvalid(ValueError):
    """What is wrong with a filter, and at which character, counted from 0."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One word, as it was written."""

    text: str
    excludes: bool
    matches: Callable[[str], bool] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> "Filter":
        """Raises `FilterInvalid`."""
        excludes = text.startswith("!")
        start = 1 if excludes else 0
        word = text[start:]
        if not word:
            raise FilterInvalid(f'{text!r}: position {start}: a filter is missing: write a word, as in "team-*"')
        if len(text) > _LONGEST:
            raise FilterInvalid(f"position {_LONGEST}: a filter has up to {_LONGEST} characters")
        if word.startswith(_SEMVER):
            return cls(text, excludes, _range(text, start + len(_SEMVER)))
        if word.startswith(_REGEX):
            return cls(text, excludes, _regex(text, start + len(_REGEX)))
        return cls(text, excludes, _wildcard(text, start))

    def __str__(self) -> str:
        return self.text


def _range(text: str, start: int) -> Callable[[str], bool]:
    try:
        wanted = NpmSpec(text[start:].strip())
    except ValueError as error:
        raise FilterInvalid(f'{text!r}: position {start}: no range of versions: write it as in ">=1.2 <2"') from error

    def matches(word: str) -> bool:
        try:
            return bool(wanted.match(Version(word.removeprefix("v"))))
        except ValueError:
            return False

    return matches


def _regex(text: str, start: int) -> Callable[[str], bool]:
    try:
        pattern = re.compile(text[start:])
    except (re.error, OverflowError, RecursionError) as error:
        position = start + (getattr(error, "pos", None) or 0)
        raise FilterInvalid(f"{text!r}: position {position}: no regular expression: {error}") from error
    return lambda word: pattern.fullmatch(word) is not None


def _wildcard(text: str, start: int) -> Callable[[str], bool]:
    parts, position = [], start
    while position < len(text):
        if text.startswith("**", position):
            parts.append(".*")
            position += 1
        elif text[position] == "*":
            parts.append("[^/]*")
        elif text[position] == "?":
            parts.append("[^/]")
        elif _PLAIN.fullmatch(text[position]):
            parts.append(re.escape(text[position]))
        else:
            told = f"{text[position]!r} is in no name: write letters, digits, . _ - / : +, * and ?, or regex:…"
            raise FilterInvalid(f"{text!r}: position {position}: {told}")
        position += 1
    pattern = re.compile("".join(parts))
    return lambda word: pattern.fullmatch(word) is not None


@dataclass(frozen=True, slots=True)
class Chain:
    """Passed where every link is. A link without filters lets all pass, one of exclusions only all but those."""

    projects: tuple[Filter, ...] = ()
    images: tuple[Filter, ...] = ()
    tags: tuple[Filter, ...] = ()
    media_types: tuple[Filter, ...] = ()
    artifact_types: tuple[Filter, ...] = ()

    def includes(self, repository: Repository) -> bool:
        """`docker.io/library/nginx` is the image `nginx` of the project `docker.io/library`."""
        project, _, image = str(repository).rpartition("/")
        return _passes(self.projects, project) and _passes(self.images, image)

    def names(self, repository: Repository, tag: str | None) -> bool:
        """What has no tag passes where no tag is asked for."""
        if not self.includes(repository):
            return False
        return _passes(self.tags, tag) if tag is not None else not self.tags

    def passes(self, repository: Repository, tag: str | None, media_type: str, artifact_type: str | None) -> bool:
        return (
            self.names(repository, tag)
            and _passes(self.media_types, media_type)
            and _passes(self.artifact_types, artifact_type or "")
        )


def _passes(link: Sequence[Filter], word: str) -> bool:
    if any(each.excludes and each.matches(word) for each in link):
        return False
    wanted = [each for each in link if not each.excludes]
    return not wanted or any(each.matches(word) for each in wanted)


def subject_of(tag: str) -> Digest | None:
    """The digest of which a tag is made, as those of signatures and of referrers are where there is no API for them."""
    found = _COMPANION.fullmatch(tag)
    if found is None:
        return None
    try:
        return Digest.parse(f"{found[1]}:{found[2]}")
    except DigestInvalid:
        return None
