"""Which images a policy is about: words for their project, image, tag, media type and artifact type.

A word is a name (`nginx`), a name with wildcards (`team-*`: `*` is any characters but `/`, `**` those as well, `?`
one), a regular expression for the whole of it (`regex:v\\d+`), or for tags a range of versions in npm's grammar
(`semver:>=1.2 <2`). `!` before any of them excludes.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from semantic_version import NpmSpec, Version

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Repository

_REGEX, _SEMVER = "regex:", "semver:"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._/:+\[\]#$&^*?-]")
_TOKEN = re.compile(r"\*\*|[*?]|[^*?]+")
_NO_RANGE = re.compile(r"(?:^|\|\|)\s*(?=\|\||$)")
_AFTER_OPERATOR = re.compile(r"(?<=[<>=~^])\s+(?=[v0-9xX*])")
_NUMBER = "(0|[1-9][0-9]{0,17})"
_VERSION = re.compile(rf"v?{_NUMBER}(?:\.{_NUMBER})?(?:\.{_NUMBER})?(?:-([0-9A-Za-z.-]+))?")
_SUBJECT = re.compile(r"sha256-([0-9a-f]{64})(?:\.[A-Za-z0-9._-]+)?")

_Matcher = Callable[[str], bool]


class FilterInvalid(ValueError):
    """`position` is the index of the character in `text` that cannot be there, or before which something lacks."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        super().__init__(f"{text!r} is no filter, at character {position}: {reason}")
        self.text = text
        self.position = position


@dataclass(frozen=True, slots=True)
class Filter:
    """One word, as it was written."""

    text: str
    excludes: bool
    matches: _Matcher = field(compare=False, repr=False)
    """Whether it is about this name, excluded or not."""

    @property
    def is_name(self) -> bool:
        """Whether it is about one name."""
        return not self.excludes and not set(self.text) & set("*?") and not self.text.startswith((_REGEX, _SEMVER))

    @classmethod
    def parse(cls, text: str, *, versions: bool = False) -> Self:
        """`versions`: it is for tags, so it may be a range. Raises `FilterInvalid`."""
        start = 1 if text.startswith("!") else 0
        if text.startswith(_REGEX, start):
            matches = _expression(text, start + len(_REGEX))
        elif text.startswith(_SEMVER, start):
            if not versions:
                raise FilterInvalid(text, start, "only tags have versions: write a name or regex:…")
            matches = _range(text, start + len(_SEMVER))
        else:
            matches = _wildcard(text, start)
        return cls(text, bool(start), matches)


@dataclass(frozen=True, slots=True)
class Chain:
    """Everything must pass, each by its own filters. Without filters everything does.

    Where only what is excluded is named, everything else passes.
    """

    projects: tuple[Filter, ...] = ()
    """Of `docker.io/library`, for the repository `docker.io/library/nginx`."""
    images: tuple[Filter, ...] = ()
    """Of `nginx`."""
    tags: tuple[Filter, ...] = ()
    media_types: tuple[Filter, ...] = ()
    artifact_types: tuple[Filter, ...] = ()

    @classmethod
    def parse(
        cls,
        projects: Sequence[str] = (),
        images: Sequence[str] = (),
        tags: Sequence[str] = (),
        media_types: Sequence[str] = (),
        artifact_types: Sequence[str] = (),
    ) -> Self:
        """Raises `FilterInvalid`."""
        return cls(
            tuple(map(Filter.parse, projects)),
            tuple(map(Filter.parse, images)),
            tuple(Filter.parse(text, versions=True) for text in tags),
            tuple(map(Filter.parse, media_types)),
            tuple(map(Filter.parse, artifact_types)),
        )

    def covers(self, repository: Repository) -> bool:
        """Whether anything in this repository may pass."""
        project, _, image = str(repository).rpartition("/")
        return _passes(self.projects, project) and _passes(self.images, image)

    def passes(self, repository: Repository, tag: str | None, media_type: str, artifact_type: str | None) -> bool:
        """Whether a manifest passes for its own sake; a referrer goes where its subject goes, which is not asked here.

        Without a tag, and with one that only names a subject, nothing passes where tags are filtered.
        """
        named = not self.tags if tag is None or subject_of(tag) else _passes(self.tags, tag)
        return (
            named
            and self.covers(repository)
            and _passes(self.media_types, media_type)
            and _passes(self.artifact_types, artifact_type or "")
        )


def subject_of(tag: str) -> Digest | None:
    """What a tag that only refers to something refers to.

    `sha256-<hex>` (distribution-spec, spec.md#referrers-tag-schema), cosign's with `.sig`, `.att` or `.sbom` behind.
    """
    found = _SUBJECT.fullmatch(tag)
    return Digest.parse(f"sha256:{found[1]}") if found else None


def _passes(filters: Sequence[Filter], name: str) -> bool:
    if any(each.excludes and each.matches(name) for each in filters):
        return False
    wanted = [each for each in filters if not each.excludes]
    return not wanted or any(each.matches(name) for each in wanted)


def _wildcard(text: str, start: int) -> _Matcher:
    if start == len(text):
        raise FilterInvalid(text, start, "nothing is named: write a name, with * for any characters, or regex:…")
    if found := _NOT_IN_NAMES.search(text, start):
        raise FilterInvalid(text, found.start(), f"no name has {found[0]!r}: write names with * ** ? or regex:…")
    if (third := text.find("***")) >= 0:
        raise FilterInvalid(text, third + 2, "write * for characters other than /, ** for all")
    tokens = _TOKEN.findall(text, start)
    return lambda name: _reaches(tokens, name)


def _reaches(tokens: Sequence[str], name: str) -> bool:
    """Follows all ways to match at once, so that no pattern and no name takes long."""
    here = {0}
    for token in tokens:
        match token:
            case "**":
                here = set(range(min(here), len(name) + 1))
            case "*":
                here = {stop for start in here for stop in range(start, _end_of_part(name, start) + 1)}
            case "?":
                here = {at + 1 for at in here if at < _end_of_part(name, at)}
            case _:
                here = {at + len(token) for at in here if name.startswith(token, at)}
        if not here:
            return False
    return len(name) in here


def _end_of_part(name: str, start: int) -> int:
    found = name.find("/", start)
    return len(name) if found < 0 else found


def _expression(text: str, start: int) -> _Matcher:
    if start == len(text):
        raise FilterInvalid(text, start, "nothing is named: write a regular expression for the whole name")
    try:
        with warnings.catch_warnings(action="ignore"):
            pattern = re.compile(text[start:])
    except re.error as error:
        raise FilterInvalid(text, start + (error.pos or 0), f"{error.msg}: write what Python's re knows") from error
    except (OverflowError, RecursionError) as error:
        raise FilterInvalid(text, start, "it is too large: write a shorter expression") from error
    return lambda name: pattern.fullmatch(name) is not None


def _range(text: str, start: int) -> _Matcher:
    body = text[start:]
    if found := _NO_RANGE.search(body):
        raise FilterInvalid(text, start + found.end(), "a range is missing: write semver:>=1.2 <2, or semver:* for all")
    compact = _AFTER_OPERATOR.sub("", body)
    for block in re.finditer(r"\S+", _AFTER_OPERATOR.sub(_blank, body).replace("||", "  ")):
        if block[0] != "-" and _npm(block[0].replace("\0", "")) is None:
            raise FilterInvalid(text, start + block.start(), f"{block[0]!r} is no range: write as in >=1.2 <2 or ^1.4")
    spec = _npm(" ".join(compact.split()))
    if spec is None:
        raise FilterInvalid(text, start, "write ranges with spaces between, || for or, as in >=1.2 <2 || 1.0 - 1.1")
    return lambda tag: (version := _version(tag)) is not None and version in spec


def _blank(spaces: re.Match[str]) -> str:
    """What holds an operator and its number together without moving what follows."""
    return "\0" * len(spaces[0])


def _npm(text: str) -> NpmSpec | None:
    try:
        return NpmSpec(text)
    except (ValueError, AttributeError):  # the latter where a range of two ends has none of them in its grammar
        return None


def _version(tag: str) -> Version | None:
    """`1.4` is 1.4.0 and `v2` is 2.0.0; what follows a hyphen makes it a prerelease."""
    found = _VERSION.fullmatch(tag)
    if found is None:
        return None
    major, minor, patch, prerelease = found.groups()
    try:
        return Version(f"{major}.{minor or 0}.{patch or 0}" + (f"-{prerelease}" if prerelease else ""))
    except ValueError:
        return None
