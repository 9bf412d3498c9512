"""Words that filter: each kind by its own rule, and nothing by accident."""

import re
import string
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST
from edgeproxy.oci.reference import Repository
from edgeproxy.sites.filters import Chain, Filter, FilterInvalid, subject_of

NGINX = Repository("docker.io", "library/nginx")
HEX = "0123456789abcdef" * 4
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
NAMES = st.text("ab./-", min_size=1, max_size=8)
PATTERNS = st.lists(st.sampled_from(["a", "b", "/", ".", "-", "?", "*", "**"]), min_size=1, max_size=7).map("".join)


def matches(text: str, name: str, *, versions: bool = True) -> bool:
    return Filter.parse(text, versions=versions).matches(name)


def naive(pattern: str, name: str) -> bool:
    """By cases, each tried to the end."""
    if not pattern:
        return not name
    if pattern.startswith("**"):
        return any(naive(pattern[2:], name[at:]) for at in range(len(name) + 1))
    if pattern.startswith("*"):
        part = name.split("/")[0]
        return any(naive(pattern[1:], name[at:]) for at in range(len(part) + 1))
    if not name or (name[0] == "/" if pattern[0] == "?" else name[0] != pattern[0]):
        return False
    return naive(pattern[1:], name[1:])


@given(NAMES, NAMES)
def test_a_name_is_only_itself(name: str, other: str) -> None:
    assert matches(name, name)
    assert matches(name, other) is (name == other)
    assert not matches(name, f"{name}x")
    assert not matches(name, f"x{name}")
    assert not matches(name, f"{name}\n")


@given(PATTERNS.filter(lambda pattern: "***" not in pattern), NAMES)
@example("a*b", "a/b")
@example("a**b", "a/b")
@example("**/b", "b")
@example("?", "/")
def test_wildcards_match_as_a_naive_matcher_does(pattern: str, name: str) -> None:
    assert matches(pattern, name) is naive(pattern, name)


def test_no_pattern_takes_long() -> None:
    """Backtracking would not end within anybody's life."""
    assert not matches("*a" * 100 + "*b", "a" * 255)
    assert not matches("**a" * 80 + "**b", "a" * 255)


@given(st.text("abc", max_size=4), st.text("abc", max_size=8))
def test_an_expression_is_for_the_whole_name(needle: str, name: str) -> None:
    assert matches(f"regex:{needle}.*", name) is name.startswith(needle)
    if needle:
        assert matches(f"regex:{needle}", name) is (needle == name)
        assert not matches(f"regex:{needle}", f"{needle}\n")


def test_alternatives_of_an_expression_are_for_the_whole_name_too() -> None:
    assert not matches("regex:a|b", "ab")
    assert matches("regex:a|b", "b")


@pytest.mark.parametrize(
    ("range_", "inside", "outside"),
    [
        (">=1.2 <2", ["1.2", "v1.2.0", "1.99.7"], ["1.1.9", "2", "v2.0.0", "latest", "1.2.x", "", "1.3.0-rc.1"]),
        ("^1.4", ["1.4", "1.9.0"], ["1.3", "2.0"]),
        ("~1.4", ["1.4.9"], ["1.5"]),
        ("1.x || >=3", ["1", "v1.7", "3", "4.1"], ["2.9"]),
        ("1.0 - 1.2", ["1.0", "1.2"], ["1.3", "0.9"]),
        (">= 1.2   < 2", ["1.5"], ["2.1"]),
        ("*", ["0.1", "v7"], ["latest", "vv7", "1.2.3.4", "01.2", "1.2_3", "1.2.3-", "1.2.3-01"]),
        (">=1.3.0-rc.1 <2", ["1.3.0-rc.1", "1.3.0-rc.2", "1.3.0"], ["1.3.0-beta", "1.4.0-rc.1", "2.0.0"]),
        ("1.27", ["1.27", "1.27.0"], ["1.27-alpine"]),
    ],
)
def test_a_range_of_versions(range_: str, inside: list[str], outside: list[str]) -> None:
    found = Filter.parse(f"semver:{range_}", versions=True)
    assert [tag for tag in inside if not found.matches(tag)] == []
    assert [tag for tag in outside if found.matches(tag)] == []


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "write a name"),
        ("!", 1, "write a name"),
        ("!!a", 1, "no name has '!'"),
        ("team-{a,b}", 5, "no name has '{': write names with * ** ? or regex:"),
        ("team a", 4, "no name has ' '"),
        ("team-***", 7, "write * for characters other than /, ** for all"),
        ("regex:", 6, "write a regular expression"),
        ("regex:a(b", 7, "missing ), unterminated subpattern: write what Python's re knows"),
        ("!regex:[a", 7, "unterminated character set"),
        ("regex:a{99999999999999}", 6, "write a shorter expression"),
        ("semver:", 7, "a range is missing: write semver:>=1.2 <2"),
        ("semver:>=1 || ", 14, "a range is missing"),
        ("semver:>=1 foo", 11, "'foo' is no range: write as in >=1.2 <2"),
        ("semver:>=   1.2 || >1.2 | 3", 24, "'|' is no range"),
        ("semver:1 2 - 3", 7, "write ranges with spaces between"),
        ("semver:>=1.02", 7, "'>=1.02' is no range"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, position: int, words: str) -> None:
    with pytest.raises(FilterInvalid) as caught:
        Filter.parse(text, versions=True)
    assert caught.value.position == position
    assert f"at character {position}: " in str(caught.value)
    assert words in str(caught.value)


@given(
    st.one_of(
        st.text(max_size=12),
        st.text("()[]{}*+?\\|a,1-^<", max_size=12).map("regex:{}".format),
        st.text("<>=~^v1.x*- |a+\t", max_size=12).map("semver:{}".format),
        st.text("!*?a/{ ", max_size=8),
    )
)
def test_whatever_is_written_is_a_filter_or_refused_with_its_place(text: str) -> None:
    try:
        found = Filter.parse(text, versions=True)
    except FilterInvalid as invalid:
        assert 0 <= invalid.position <= len(text)
        assert repr(text) in str(invalid)
    else:
        assert found.text == text
        assert found.matches("1.2.3") in (True, False)


@given(st.text(string.printable, max_size=8), st.text(string.printable, max_size=4))
def test_an_expression_is_what_python_makes_of_it(body: str, name: str) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):
            expected = re.compile(body or "(").fullmatch(name) is not None
    except (re.error, OverflowError):
        with pytest.raises(FilterInvalid):
            Filter.parse(f"regex:{body}")
    else:
        assert matches(f"regex:{body}", name) is expected


def test_ranges_are_for_tags_only() -> None:
    with pytest.raises(FilterInvalid, match="only tags have versions"):
        Filter.parse("semver:>=1")
    with pytest.raises(FilterInvalid, match="only tags have versions"):
        Chain.parse(images=["semver:>=1"])
    assert Chain.parse(tags=["semver:>=1"]).passes(NGINX, "1.2", OCI_MANIFEST, None)


def test_filters_are_equal_as_they_are_written() -> None:
    assert Filter.parse("a*") == Filter.parse("a*") != Filter.parse("!a*")
    assert Chain.parse(tags=["1.*"]) == Chain.parse(tags=["1.*"])


@pytest.mark.parametrize(
    ("chain", "passes"),
    [
        (Chain.parse(), True),
        (Chain.parse(projects=["docker.io/library"], images=["nginx"]), True),
        (Chain.parse(projects=["docker.io/*"]), True),
        (Chain.parse(projects=["docker.io/**"]), True),
        (Chain.parse(projects=["docker.io"]), False),
        (Chain.parse(projects=["library"]), False),
        (Chain.parse(images=["library/nginx"]), False),
        (Chain.parse(images=["redis", "ngin?"]), True),
        (Chain.parse(images=["!nginx"]), False),
        (Chain.parse(images=["!redis"]), True),
        (Chain.parse(images=["*", "!nginx"]), False),
        (Chain.parse(images=["!redis", "postgres"]), False),
        (Chain.parse(tags=["1.2"]), True),
        (Chain.parse(tags=["latest"]), False),
        (Chain.parse(tags=["semver:^1", "!regex:.*-dev"]), True),
        (Chain.parse(tags=["!semver:^1"]), False),
        (Chain.parse(media_types=[OCI_MANIFEST]), True),
        (Chain.parse(media_types=[OCI_INDEX]), False),
        (Chain.parse(media_types=["application/vnd.oci.*"]), True),
        (Chain.parse(artifact_types=[SIGNATURE]), False),
        (Chain.parse(artifact_types=[f"!{SIGNATURE}"]), True),
        (Chain.parse(projects=["docker.io/library"], tags=["latest"]), False),
    ],
)
def test_everything_must_pass(chain: Chain, passes: bool) -> None:
    assert chain.passes(NGINX, "1.2", OCI_MANIFEST, None) is passes


def test_an_artifact_passes_by_its_type() -> None:
    assert Chain.parse(artifact_types=[SIGNATURE]).passes(NGINX, "1.2", OCI_MANIFEST, SIGNATURE)
    assert not Chain.parse(artifact_types=[f"!{SIGNATURE}"]).passes(NGINX, "1.2", OCI_MANIFEST, SIGNATURE)


@pytest.mark.parametrize("tag", [None, f"sha256-{HEX}", f"sha256-{HEX}.sig"])
def test_what_has_no_tag_of_its_own_passes_only_where_tags_are_not_filtered(tag: str | None) -> None:
    assert Chain.parse(images=["nginx"]).passes(NGINX, tag, OCI_MANIFEST, None)
    assert not Chain.parse(images=["redis"]).passes(NGINX, tag, OCI_MANIFEST, None)
    assert not Chain.parse(tags=["*"]).passes(NGINX, tag, OCI_MANIFEST, None)
    assert not Chain.parse(tags=["!1.*"]).passes(NGINX, tag, OCI_MANIFEST, None)


def test_a_repository_is_covered_where_any_of_its_tags_may_pass() -> None:
    assert Chain.parse(projects=["docker.io/library"], tags=["none"]).covers(NGINX)
    assert not Chain.parse(projects=["ghcr.io/**"]).covers(NGINX)


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_tags_that_name_their_subject(suffix: str) -> None:
    assert subject_of(f"sha256-{HEX}{suffix}") == Digest.parse(f"sha256:{HEX}")


@pytest.mark.parametrize(
    "tag",
    ["latest", f"sha256-{HEX[1:]}", f"sha256-{HEX}0", f"sha256-{HEX.upper()}", f"sha512-{HEX}", f"v-sha256-{HEX}"],
)
def test_tags_that_name_no_subject(tag: str) -> None:
    """Of sha512 the schema keeps half a digest, which names nothing."""
    assert subject_of(tag) is None
