"""What is refused, in the words of the OCI distribution-spec (spec.md#error-codes).

A refusal is an exception; `document` renders it. Each class names its code and its HTTP status, nowhere else decided.
"""

import json


class Refusal(Exception):
    """A request that cannot be served; `message` tells the client what to do about it."""

    code = "UNKNOWN"
    status = 500

    def __init__(self, message: str, detail: object = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retry_after = retry_after


class NameInvalid(Refusal):
    code, status = "NAME_INVALID", 400


class NameUnknown(Refusal):
    code, status = "NAME_UNKNOWN", 404


class DigestInvalid(Refusal):
    code, status = "DIGEST_INVALID", 400


class TagInvalid(Refusal):
    """A name no tag can have names no manifest: the conformance suite wants it to be simply not there."""

    code, status = "MANIFEST_UNKNOWN", 404


class ManifestUnknown(Refusal):
    code, status = "MANIFEST_UNKNOWN", 404


class ManifestInvalid(Refusal):
    code, status = "MANIFEST_INVALID", 502


class ManifestMalformed(Refusal):
    """A client's, not an upstream's."""

    code, status = "MANIFEST_INVALID", 400


class ManifestBlobUnknown(Refusal):
    """A manifest names what its repository does not have."""

    code, status = "MANIFEST_BLOB_UNKNOWN", 404


class BlobUnknown(Refusal):
    code, status = "BLOB_UNKNOWN", 404


class BlobUploadUnknown(Refusal):
    code, status = "BLOB_UPLOAD_UNKNOWN", 404


class BlobUploadInvalid(Refusal):
    code, status = "BLOB_UPLOAD_INVALID", 400


class UploadBusy(BlobUploadInvalid):
    """Another request is writing."""

    status = 409


class SizeInvalid(Refusal):
    """A body is larger than is taken here."""

    code, status = "SIZE_INVALID", 413


class InsufficientStorage(Refusal):
    """Neither the disk nor what may be evicted has room (RFC 4918, section 11.5)."""

    code, status = "INSUFFICIENT_STORAGE", 507


class RangeInvalid(Refusal):
    code, status = "RANGE_INVALID", 416


class RequestInvalid(Refusal):
    code, status = "UNSUPPORTED", 400


class TargetTooLong(RequestInvalid):
    """RFC 9110, section 15.5.15."""

    code, status = "TARGET_TOO_LONG", 414


class FieldsTooLarge(RequestInvalid):
    """RFC 6585, section 5."""

    code, status = "FIELDS_TOO_LARGE", 431


class RequestTimeout(RequestInvalid):
    """RFC 9110, section 15.5.9."""

    code, status = "REQUEST_TIMEOUT", 408


class RouteUnknown(Refusal):
    code, status = "NOT_FOUND", 404


class Unsupported(Refusal):
    code, status = "UNSUPPORTED", 405

    def __init__(self, message: str, allowed: str = "GET, HEAD", *, retry_after: float | None = None) -> None:
        """`allowed`: the methods that are supported there."""
        super().__init__(message, retry_after=retry_after)
        self.allowed = allowed


class Forbidden(Refusal):
    """Not for whoever asks; `reason` is the word that it is counted by."""

    def __init__(self, message: str, reason: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.reason = reason


class Unauthorized(Forbidden):
    """A login may help: the answer says which (RFC 9110, section 11.6.1)."""

    code, status = "UNAUTHORIZED", 401


class Denied(Forbidden):
    code, status = "DENIED", 403


class LoopDetected(Refusal):
    """The request has passed this proxy already (RFC 8586)."""

    code, status = "LOOP_DETECTED", 508


class TooManyRequests(Refusal):
    code, status = "TOOMANYREQUESTS", 429


class Unavailable(Refusal):
    """Upstream cannot be asked, or failed; asking again later may help."""

    code, status = "UNAVAILABLE", 503


class ContentUnreadable(Unavailable):
    """What is to be sent cannot be read here."""

    code, status = "UNAVAILABLE", 503


class UpstreamTimeout(Unavailable):
    code, status = "UNAVAILABLE", 504


class NotHeld(Refusal):
    """Not here, and nobody may be asked: `only-if-cached` (RFC 9111, section 5.2.1.7)."""

    code, status = "UNAVAILABLE", 504


class UpstreamUnauthorized(Unavailable):
    """Upstream refuses our login: for the client a matter of the proxy, never a challenge."""

    code, status = "DENIED", 403


class DigestMismatch(Unavailable):
    """What arrived is not what its digest promised."""

    code, status = "DIGEST_INVALID", 502


def unknown(kind: str, what: object) -> Refusal:
    """What the specification says of absent content of a kind, "manifests" or "blobs"."""
    return ManifestUnknown(f"{what} is unknown") if kind == "manifests" else BlobUnknown(f"{what} is unknown")


def document(refusal: Refusal) -> bytes:
    """The error JSON of distribution-spec, spec.md#error-codes."""
    error: dict[str, object] = {"code": refusal.code, "message": refusal.message}
    if refusal.detail is not None:
        error["detail"] = refusal.detail
    return json.dumps({"errors": [error]}).encode()
