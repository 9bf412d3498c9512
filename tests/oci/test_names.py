"""Digests and references: what is well formed is read as it was written, and all else is refused in words."""

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import DigestInvalid, NameInvalid, TagInvalid
from edgeproxy.oci.reference import Pinned, Repository, Tag, parse_reference, parse_registry, parse_repository

WORD = st.from_regex(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*", fullmatch=True).filter(lambda word: len(word) < 40)
PATHS = st.lists(WORD, min_size=1, max_size=6).map("/".join)
TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)
DIGESTS = st.one_of(
    st.binary().map(lambda content: f"sha256:{hashlib.sha256(content).hexdigest()}"),
    st.binary().map(lambda content: f"sha512:{hashlib.sha512(content).hexdigest()}"),
)


@given(DIGESTS)
def test_a_digest_is_read_as_it_was_written(text: str) -> None:
    digest = Digest.parse(text)
    assert (str(digest), f"{digest.algorithm}:{digest.hex}") == (text, text)


@given(st.binary(), st.sampled_from(["sha256", "sha512"]))
def test_content_matches_its_digest_and_no_other(content: bytes, algorithm: str) -> None:
    digest = Digest.of(content, algorithm)
    hasher = digest.hasher()
    hasher.update(content)
    assert digest.matches(hasher)
    hasher.update(b"!")
    assert not digest.matches(hasher)


@pytest.mark.parametrize(
    "text",
    ["", "sha256", "sha256:", f"sha256:{'a' * 63}", f"sha256:{'A' * 64}", f"sha512:{'a' * 64}", f"md5:{'a' * 32}"],
)
def test_what_is_no_digest(text: str) -> None:
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latest", "is not a digest: expected sha256:<64 hex digits>"),
        ("SHA256:00", "is not a digest: expected sha256:<64 hex digits>"),
        (f"sha256:{'a' * 63}", "sha256 takes 64 hex digits"),
        (f"sha512:{'a' * 64}", "sha512 takes 128 hex digits"),
        ("md5:d41d8cd98f00b204e9800998ecf8427e", "unsupported digest algorithm 'md5': use sha256 or sha512"),
        ("multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8", "unsupported digest algorithm"),
    ],
)
def test_what_is_no_digest_is_told_what_to_write(text: str, words: str) -> None:
    with pytest.raises(DigestInvalid) as caught:
        Digest.parse(text)
    assert words in caught.value.message


@given(st.text())
def test_any_text_is_a_digest_or_refused(text: str) -> None:
    try:
        assert Digest.parse(text) == text
    except DigestInvalid as refusal:
        assert refusal.status == 400


@given(PATHS)
def test_a_repository_is_read_as_it_was_written(path: str) -> None:
    assert parse_repository("ghcr.io", path) == Repository("ghcr.io", path)
    expected = path if "/" in path else f"library/{path}"
    assert parse_repository("docker.io", path).path == expected


@given(TAGS, DIGESTS)
def test_a_reference_is_a_tag_or_pinned(tag: str, digest: str) -> None:
    repository = Repository("ghcr.io", "a")
    assert parse_reference(repository, tag) == Tag(repository, tag)
    assert parse_reference(repository, digest) == Pinned(repository, Digest(digest))
    assert isinstance(parse_reference(repository, digest), Pinned)


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    for parse, refusal in (
        (lambda: parse_repository("ghcr.io", text), (NameInvalid,)),
        (lambda: parse_registry(text), (NameInvalid,)),
        (lambda: parse_reference(Repository("ghcr.io", "a"), text), (TagInvalid, DigestInvalid)),
    ):
        with contextlib.suppress(*refusal):
            parse()


@pytest.mark.parametrize("path", ["A", "a//b", "/a", "a/", "a..b", "-a", "a b", "a" * 256, "a\n"])
def test_what_is_no_repository(path: str) -> None:
    with pytest.raises(NameInvalid):
        parse_repository("ghcr.io", path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GHCR.io", "ghcr.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("localhost:5000", "localhost:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_registry_has_one_name(text: str, name: str) -> None:
    assert parse_registry(text) == name
