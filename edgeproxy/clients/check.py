"""Whether a client pulls through here, and if not, why, in words."""

import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from edgeproxy.clients.files import Tree
from edgeproxy.clients.mirror import CannotEdit, Mirror
from edgeproxy.clients.settings import CLIENTS, RESTARTS

_PATIENCE = 10.0
_LONGEST_PULL = 300.0
_PULLS: Mapping[str, Sequence[str]] = {
    "containerd": ("ctr", "content", "fetch", "--hosts-dir", "{root}/etc/containerd/certs.d", "{image}"),
    "docker": ("docker", "pull", "--quiet", "{image}"),
    "crio": ("crictl", "pull", "{image}"),
    "podman": ("podman", "pull", "--quiet", "{image}"),
    "k3s": ("k3s", "crictl", "pull", "{image}"),
}


class Finding(NamedTuple):
    right: bool
    words: str


def check(client: str, mirror: Mirror, tree: Tree, admin: str, image: str) -> list[Finding]:
    """Up to the first that is wrong: what follows would fail for the same reason."""
    found: list[Finding] = []
    steps: tuple[Callable[[], Finding], ...] = (
        lambda: _reached(client, mirror),
        lambda: _installed(client, mirror, tree),
        lambda: _pulled(client, tree, admin, image),
    )
    for step in steps:
        found.append(step())
        if not found[-1].right:
            break
    return found


def _reached(client: str, mirror: Mirror) -> Finding:
    try:
        context = ssl.create_default_context(cadata=mirror.ca or None) if not mirror.plain else None
        with urllib.request.urlopen(f"{mirror.url}/v2/", timeout=_PATIENCE, context=context):
            return Finding(True, f"{mirror.url} answers")
    except urllib.error.HTTPError as error:
        challenge = error.headers.get("WWW-Authenticate", "")
        if error.code == 401 and client == "docker":
            return Finding(False, f"{mirror.url} asks for a login ({challenge[:80]}): docker then bypasses it silently")
        if error.code == 401:
            return Finding(True, f"{mirror.url} answers, and asks for a login: give the client one")
        return Finding(False, f"{mirror.url} answers with status {error.code}: is this an edgeproxy?")
    except (urllib.error.URLError, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return Finding(False, f"{mirror.url} has a certificate of another authority: name its file with --ca")
        if isinstance(reason, ssl.SSLError):
            return Finding(False, f"{mirror.url} speaks no TLS: is it http://{mirror.host}?")
        return Finding(False, f"{mirror.url} is not reached: {reason}; does the daemon run, and listen there?")


def _installed(client: str, mirror: Mirror, tree: Tree) -> Finding:
    try:
        wanted = CLIENTS[client](mirror, tree.look)
    except CannotEdit as error:
        return Finding(False, str(error))
    missing = [path for path, text in wanted.items() if tree.look(path) != text]
    if missing:
        return Finding(False, f"{', '.join(missing)}: not as it should be; --write changes that")
    return Finding(True, f"{', '.join(wanted)}: as it should be")


def _pulled(client: str, tree: Tree, admin: str, image: str) -> Finding:
    command = [word.format(root=str(tree.root).rstrip("/"), image=image) for word in _PULLS[client]]
    if shutil.which(command[0]) is None:
        return Finding(True, f"{command[0]} is not here, so nothing was pulled")
    before = _answered(admin)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_PULL, check=False)
    except subprocess.TimeoutExpired:
        return Finding(False, f"{' '.join(command)}: not done after {_LONGEST_PULL:g} s")
    after = _answered(admin)
    if before is None or after is None:
        return Finding(False, f"{admin}/metrics is not reached, which tells whether a pull came this way: see --admin")
    came = after > before
    restart = (
        f": has it read its files ({RESTARTS[client]})?"
        if client in RESTARTS
        else ": is there another configuration before it?"
    )
    if done.returncode == 0:
        through = f"{image} was pulled through {after - before:.0f} requests here"
        return Finding(came, through if came else f"{image} was pulled past this proxy{restart}")
    said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing was said"]
    return Finding(False, f"{' '.join(command)} failed{'' if came else ', and asked nothing here'}: {said[0][:300]}")


def _answered(admin: str) -> float | None:
    """Requests that the daemon has answered; `None` where it does not say."""
    try:
        with urllib.request.urlopen(f"{admin}/metrics", timeout=_PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return None
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("edgeproxy_requests_total{"))
