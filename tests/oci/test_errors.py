"""Refusals as the distribution-spec writes them, and the proxies that a request has passed."""

import json
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.oci.errors import (
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    ContentUnreadable,
    Denied,
    DigestInvalid,
    DigestMismatch,
    FieldsTooLarge,
    Forbidden,
    InsufficientStorage,
    LoopDetected,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestMalformed,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    NotHeld,
    RangeInvalid,
    Refusal,
    RequestInvalid,
    RequestTimeout,
    RouteUnknown,
    SizeInvalid,
    TagInvalid,
    TargetTooLong,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unsupported,
    UploadBusy,
    UpstreamTimeout,
    UpstreamUnauthorized,
    document,
    unknown,
)
from edgeproxy.oci.passage import has_passed, passed, passing

TABLE: list[tuple[type[Refusal], str, int]] = [
    (Refusal, "UNKNOWN", 500),
    (NameInvalid, "NAME_INVALID", 400),
    (NameUnknown, "NAME_UNKNOWN", 404),
    (NotHeld, "UNAVAILABLE", 504),
    (DigestInvalid, "DIGEST_INVALID", 400),
    (TagInvalid, "MANIFEST_UNKNOWN", 404),
    (ManifestUnknown, "MANIFEST_UNKNOWN", 404),
    (ManifestInvalid, "MANIFEST_INVALID", 502),
    (ManifestMalformed, "MANIFEST_INVALID", 400),
    (ManifestBlobUnknown, "MANIFEST_BLOB_UNKNOWN", 404),
    (BlobUnknown, "BLOB_UNKNOWN", 404),
    (BlobUploadUnknown, "BLOB_UPLOAD_UNKNOWN", 404),
    (BlobUploadInvalid, "BLOB_UPLOAD_INVALID", 400),
    (UploadBusy, "BLOB_UPLOAD_INVALID", 409),
    (SizeInvalid, "SIZE_INVALID", 413),
    (RequestTimeout, "REQUEST_TIMEOUT", 408),
    (InsufficientStorage, "INSUFFICIENT_STORAGE", 507),
    (RangeInvalid, "RANGE_INVALID", 416),
    (RequestInvalid, "UNSUPPORTED", 400),
    (TargetTooLong, "TARGET_TOO_LONG", 414),
    (FieldsTooLarge, "FIELDS_TOO_LARGE", 431),
    (RouteUnknown, "NOT_FOUND", 404),
    (Unsupported, "UNSUPPORTED", 405),
    (Forbidden, "UNKNOWN", 500),
    (Denied, "DENIED", 403),
    (Unauthorized, "UNAUTHORIZED", 401),
    (SizeInvalid, "SIZE_INVALID", 413),
    (LoopDetected, "LOOP_DETECTED", 508),
    (TooManyRequests, "TOOMANYREQUESTS", 429),
    (Unavailable, "UNAVAILABLE", 503),
    (UpstreamTimeout, "UNAVAILABLE", 504),
    (ContentUnreadable, "UNAVAILABLE", 503),
    (UpstreamUnauthorized, "DENIED", 403),
    (DigestMismatch, "DIGEST_INVALID", 502),
]


@pytest.mark.parametrize(("kind", "code", "status"), TABLE)
def test_every_refusal_has_its_code_and_status(kind: type[Refusal], code: str, status: int) -> None:
    refusal = kind("words", retry_after=3.0)
    assert (refusal.code, refusal.status, refusal.message, str(refusal)) == (code, status, "words", "words")
    assert refusal.retry_after == 3.0


def test_the_table_is_of_all() -> None:
    def below(kind: type[Refusal]) -> set[type[Refusal]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    assert below(Refusal) == {kind for kind, _, _ in TABLE}


@given(st.text(), st.none() | st.dictionaries(st.text(), st.text() | st.integers()))
def test_an_error_is_rendered_as_the_specification_says(message: str, detail: dict[str, object] | None) -> None:
    (error,) = json.loads(document(RangeInvalid(message, detail)))["errors"]
    assert error.pop("detail", None) == detail
    assert error == {"code": "RANGE_INVALID", "message": message}


def test_what_is_absent_is_named_for_its_kind() -> None:
    assert type(unknown("blobs", "x")) is BlobUnknown
    assert type(unknown("manifests", "x")) is ManifestUnknown
    assert json.loads(document(unknown("blobs", "x"))) == {
        "errors": [{"code": "BLOB_UNKNOWN", "message": "x is unknown"}]
    }


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("", False),
        ("me", True),
        ("you, me", True),
        ("you,me,them", True),
        (" me ", True),
        ("me;v=1", True),
        ("me ; v=1", True),
        ("meme", False),
        ("m", False),
        ("you;x=me", False),
        ("you, , them", False),
    ],
)
def test_a_proxy_knows_its_own_name(field: str, expected: bool) -> None:
    assert has_passed(field, "me") == expected


def test_the_way_is_sent_on() -> None:
    def in_a_request() -> list[str]:
        said = [passing("me")]
        passed.set("you; v=1, them")
        return [*said, passing("me")]

    assert copy_context().run(in_a_request) == ["me", "you; v=1, them, me"]
    assert passing("me") == "me"


@given(st.lists(st.from_regex(r"[a-z]+[a-z0-9.-]*(:[0-9]+)?", fullmatch=True), max_size=4), st.booleans())
def test_who_has_been_passed_is_known_further_on(names: list[str], spaced: bool) -> None:
    field = (", " if spaced else ",").join(names)
    for name in names:
        assert has_passed(field, name)
    assert not has_passed(field, "ME")
