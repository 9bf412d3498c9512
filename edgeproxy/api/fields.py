"""An answer's header fields, as the bytes that go out: decided here for every way of sending."""

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from edgeproxy.cache.answers import Outcome
from edgeproxy.interfaces import Span
from edgeproxy.oci.errors import Refusal
from edgeproxy.oci.manifest import Descriptor

Field = tuple[str, str]
Fields = tuple[Field, ...]
JSON = "application/json"
_COMMON: Fields = (("Docker-Distribution-Api-Version", "registry/2.0"), ("Server", "edgeproxy"))
_HIT = "edgeproxy; hit"


@lru_cache(maxsize=4096)
def of_content(descriptor: Descriptor, namespace: str | None, span: Span | None) -> Fields:
    """The representation's own fields (RFC 9110, section 8) and the specification's."""
    fields = [
        ("Content-Type", descriptor.media_type or "application/octet-stream"),
        ("Content-Length", str(span.length if span else descriptor.size)),
        ("Docker-Content-Digest", descriptor.digest),
        ("ETag", f'"{descriptor.digest}"'),
        ("Accept-Ranges", "bytes"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if span:
        fields.append(("Content-Range", f"bytes {span.start}-{span.stop - 1}/{descriptor.size}"))
    return (*fields, *of_namespace(namespace))


@lru_cache(maxsize=4096)
def of_outcome(outcome: Outcome) -> Fields:
    """`Cache-Status` (RFC 9211), and `Warning` where the answer is stale (RFC 7234, section 5.5)."""
    status = ("Cache-Status", cache_status(outcome))
    if outcome.word != "stale":
        return (status,)
    warning = '111 edgeproxy "Revalidation Failed"' if outcome.detail else '110 edgeproxy "Response is Stale"'
    return status, ("Warning", warning)


def cache_status(outcome: Outcome) -> str:
    if outcome.forwarded:
        status = f"edgeproxy; fwd={outcome.forwarded}"
        status += "; collapsed" if outcome.word == "collapsed" else "; stored"
    else:
        status = _HIT
    if outcome.ttl is not None:
        status += f"; ttl={outcome.ttl}"
    if outcome.detail:
        status += f"; detail={_quoted(outcome.detail)}"
    return status


def of_refusal(refusal: Refusal, *, asked_upstream: bool) -> Fields:
    detail = f"detail={refusal.code}"
    fields = [
        ("Content-Type", JSON),
        ("Cache-Status", f"edgeproxy; fwd=uri-miss; {detail}" if asked_upstream else f"edgeproxy; {detail}"),
    ]
    if refusal.retry_after is not None:
        fields.append(("Retry-After", str(max(1, round(refusal.retry_after)))))
    if refusal.status == 405 and isinstance(refusal.detail, dict):
        fields.append(("Allow", refusal.detail["allow"]))
    if refusal.status == 416 and isinstance(refusal.detail, dict):
        fields.append(("Content-Range", f"bytes */{refusal.detail['size']}"))
    return tuple(fields)


def of_namespace(namespace: str | None) -> Fields:
    """Distribution-spec, spec.md#registry-proxying: the `ns` that was honoured."""
    return (("OCI-Namespace", _printable(namespace)),) if namespace else ()


def head(status: int, about: Fields, outcome: Fields, now: float) -> bytes:
    """A response's start line and header section; what does not change from one answer to the next is remembered."""
    return b"".join((_start(status), _remembered(about), _remembered(outcome), _date(int(now))))


@lru_cache(maxsize=4096)
def _remembered(fields: Fields) -> bytes:
    return render(fields)


def render(fields: Fields) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1", "replace")


def common() -> Fields:
    return _COMMON


@lru_cache(maxsize=8)
def _date(second: int) -> bytes:
    return f"Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode()


@lru_cache(maxsize=64)
def _start(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode() + render(_COMMON)


def _printable(text: str) -> str:
    return "".join(character if 32 <= ord(character) < 127 else "?" for character in text)


def _quoted(text: str) -> str:
    """A structured field's string (RFC 9651, section 3.3.3)."""
    escaped = _printable(text[:200]).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
