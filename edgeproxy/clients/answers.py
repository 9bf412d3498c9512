"""What the daemon answers to what a client would ask, and what is wrong with that, in words."""

import json
import ssl
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPException
from typing import NamedTuple

from edgeproxy.clients.mirror import Mirror
from edgeproxy.oci.reference import DOCKER_HUB, Reference, path_of

PATIENCE = 30.0
_ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1", "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2", "docker.distribution.manifest.v2",
    )
)  # fmt: skip
_OTHER_NAME = {62, 63, 64}
"""OpenSSL's codes for a certificate that is for another host."""


class Finding(NamedTuple):
    right: bool
    words: str
    reached: bool = True


class Answered(NamedTuple):
    status: int
    headers: Message
    body: bytes

    @property
    def told(self) -> str:
        """The message of the first error (distribution-spec, spec.md#error-codes)."""
        try:
            return str(json.loads(self.body)["errors"][0]["message"])
        except (ValueError, LookupError, TypeError):
            return f"status {self.status}"


def reached(client: str, mirror: Mirror) -> Finding:
    """Whether this is a registry for a client that begins with `/v2/`, as docker and podman do."""
    answer = _ask(mirror, "/v2/")
    if isinstance(answer, Finding):
        return answer
    if answer.status == 401 and client == "docker":
        challenge = answer.headers.get("WWW-Authenticate", "")[:80]
        return Finding(False, f"{mirror.url} asks for a login ({challenge}): docker then bypasses it silently")
    if answer.status not in (200, 401):
        return Finding(False, f"{mirror.url} is no registry for its clients: {answer.told}")
    return Finding(True, f"{mirror.url} answers")


def has(client: str, mirror: Mirror, image: Reference) -> Finding:
    """Whether the client would be given the image's manifest, asked for in its own way."""
    if client == "docker" and image.repository.registry != DOCKER_HUB:
        return Finding(False, f"docker asks a mirror for {DOCKER_HUB} only: name an --image of it instead of {image}")
    target = asked_as(client, image)
    answer = _ask(mirror, target)
    if isinstance(answer, Finding):
        return answer
    if answer.status == 401:
        what = "docker then bypasses it silently" if client == "docker" else "give the client one, or open it by a rule"
        return Finding(False, f"{mirror.url} asks for a login for {image}: {what}")
    if answer.status != 200:
        return Finding(False, f"{mirror.url}{target} is refused: {answer.told}")
    if "edgeproxy" not in answer.headers.get("Cache-Status", ""):
        return Finding(False, f"{mirror.url} is a registry, and no edgeproxy: is the port another one's?")
    return Finding(True, f"{image} is there for {client}")


def asked_as(client: str, image: Reference) -> str:
    """containerd says the registry in `ns`, podman in the path, and docker not at all."""
    registry, path = image.repository
    place = path_of("manifests", image)
    match client:
        case "docker":
            return f"/v2/{path}/{place}"
        case "containerd" | "k3s":
            return f"/v2/{path}/{place}?ns={registry}"
        case _:
            return f"/v2/{registry}/{path}/{place}"


def _ask(mirror: Mirror, target: str) -> Answered | Finding:
    """What is answered, whatever its status; or why nothing is."""
    context = None if mirror.plain else ssl.create_default_context(cadata=mirror.ca or None)
    request = urllib.request.Request(f"{mirror.url}{target}", headers={"Accept": _ACCEPT})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as answer:
            return Answered(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answered(error.code, error.headers, error.read())
    except urllib.error.URLError as error:
        return _unanswered(mirror, error.reason)
    except (OSError, HTTPException) as error:
        return _unanswered(mirror, error)


def _unanswered(mirror: Mirror, reason: object) -> Finding:
    if isinstance(reason, ssl.SSLCertVerificationError):
        if reason.verify_code in _OTHER_NAME:
            return Finding(False, f"{mirror.url} has a certificate for another name: {reason.verify_message}")
        return Finding(
            False,
            f"{mirror.url} has a certificate of another authority ({reason.verify_message}): name its file with --ca",
        )
    if isinstance(reason, ssl.SSLError) and "CERTIFICATE_REQUIRED" in str(reason):
        return Finding(False, f"{mirror.url} wants to see a client's certificate: add client and its key by hand")
    if isinstance(reason, ssl.SSLError):
        return Finding(False, f"{mirror.url} speaks no TLS: is it http://{mirror.host}?")
    words = f"{mirror.url} is not reached: {reason}; does the daemon run, and listen there?"
    return Finding(False, words, reached=False)
