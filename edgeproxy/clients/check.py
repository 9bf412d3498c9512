"""Whether a client pulls through here, and if not, why, in words."""

import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence

from edgeproxy.clients.answers import PATIENCE, Finding, has, reached
from edgeproxy.clients.containerd import HOSTS, hosts_directory
from edgeproxy.clients.files import Tree
from edgeproxy.clients.mirror import CannotEdit, Mirror
from edgeproxy.clients.settings import CLIENTS, RESTARTS
from edgeproxy.oci.reference import Reference

_LONGEST_PULL = 300.0
_PULLS: Mapping[str, Sequence[str]] = {
    "containerd": ("ctr", "content", "fetch", "--hosts-dir", "{hosts}", "{image}"),
    "docker": ("docker", "pull", "--quiet", "{image}"),
    "crio": ("crictl", "pull", "{image}"),
    "podman": ("podman", "pull", "--quiet", "{image}"),
    "k3s": ("k3s", "crictl", "pull", "{image}"),
}


def check(client: str, mirror: Mirror, tree: Tree, admin: str, image: Reference) -> list[Finding]:
    """Up to the first that is wrong: what follows would fail for the same reason."""
    found: list[Finding] = []
    steps: tuple[Callable[[], Finding], ...] = (
        lambda: reached(client, mirror),
        lambda: has(client, mirror, image),
        lambda: _installed(client, mirror, tree, image),
        lambda: _pulled(client, tree, admin, image),
    )
    for step in steps:
        found.append(step())
        if not found[-1].right:
            break
    return found


def _installed(client: str, mirror: Mirror, tree: Tree, image: Reference) -> Finding:
    try:
        wanted = CLIENTS[client](mirror, tree.look)
    except CannotEdit as error:
        return Finding(False, str(error))
    missing = [path for path, text in wanted.items() if tree.look(path) != text]
    if missing:
        return Finding(False, f"{', '.join(missing)}: not as it should be; --write changes that")
    registry = image.repository.registry
    own = f"{_hosts(tree)}/{registry}/hosts.toml"
    if client == "containerd" and own not in wanted and tree.look(own) is not None:
        return Finding(False, f"{own} is read instead of the one for all: --write --registry {registry} changes that")
    return Finding(True, f"{', '.join(wanted)}: as it should be")


def _hosts(tree: Tree) -> str:
    try:
        return hosts_directory(tree.look) or HOSTS
    except CannotEdit:  # which is said when it is to be edited
        return HOSTS


def _pulled(client: str, tree: Tree, admin: str, image: Reference) -> Finding:
    hosts = tree.root / _hosts(tree).lstrip("/")
    command = [word.format(hosts=hosts, image=image) for word in _PULLS[client]]
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
        with urllib.request.urlopen(f"{admin}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return None
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("edgeproxy_requests_total{"))
