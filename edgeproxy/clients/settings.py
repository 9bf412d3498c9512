"""What each client's own files have to say for it to pull through here, and fall back to the registry itself. Pure."""

import json
import re
from collections.abc import Mapping
from typing import Any

from edgeproxy.clients.containerd import containerd
from edgeproxy.clients.mirror import BEGIN, END, CannotEdit, Look, Mirror, Write, without_block
from edgeproxy.clients.toml import parsed

REGISTRIES = (
    "docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "gcr.io", "mcr.microsoft.com", "public.ecr.aws",
)  # fmt: skip
"""Those that clients are told of which have to be told of each."""


def docker(mirror: Mirror, look: Look) -> dict[str, str]:
    """daemon.json. Docker mirrors docker.io only, and trusts authorities by a file for each host."""
    path = "/etc/docker/daemon.json"
    text = look(path) or ""
    try:
        settings = json.loads(text or "{}", object_pairs_hook=_unique)
    except ValueError as error:
        raise CannotEdit(f"{path} is no JSON: {error}; mend it, or move it away") from error
    if not isinstance(settings, dict):
        raise CannotEdit(f"{path} holds no object; mend it, or move it away")
    before = json.dumps(settings)
    _put_first(settings, "registry-mirrors", mirror.url, path)
    if mirror.plain:
        _put_first(settings, "insecure-registries", mirror.host, path)
    indent = re.search(r"^[ \t]+", text, re.MULTILINE)
    after = json.dumps(settings, indent=indent[0] if indent else 2, ensure_ascii=False) + "\n"
    files = {path: text if json.dumps(settings) == before else after}
    return {**files, f"/etc/docker/certs.d/{mirror.host}/ca.crt": mirror.ca} if mirror.ca else files


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError: of two that are called the same, one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"one of {', '.join(key for key, _ in pairs)} is there twice")
    return found


def _put_first(settings: dict[str, Any], key: str, item: str, path: str) -> None:
    known = settings.get(key, [])
    if not isinstance(known, list):
        raise CannotEdit(f"{key} in {path} is no list; mend it, or move the file away")
    settings[key] = [item, *(each for each in known if each not in (item, item + "/"))]


def podman(mirror: Mirror, look: Look) -> dict[str, str]:
    """A file of its own, with a block for each registry: containers/image has no default for all."""
    main = "/etc/containers/registries.conf"
    if "registries" in parsed(look(main) or "", main):
        raise CannotEdit(
            f"{main} is written in format 1, which does not go with mirrors: "
            "write [registries.search] as unqualified-search-registries = [...], then try again"
        )
    insecure = "insecure = true\n" if mirror.plain else ""
    blocks = [
        f'[[registry]]\nprefix = "{name}"\nlocation = "{name}"\n[[registry.mirror]]\n'
        f'location = "{mirror.host}/{name}"\n{insecure}'
        for name in mirror.registries or REGISTRIES
    ]
    files = {"/etc/containers/registries.conf.d/50-edgeproxy.conf": "\n".join([BEGIN, *blocks, END, ""])}
    return {**files, f"/etc/containers/certs.d/{mirror.host}/ca.crt": mirror.ca} if mirror.ca else files


def k3s(mirror: Mirror, look: Look) -> dict[str, str]:
    """registries.yaml, for every registry. Raises `CannotEdit` where it has mirrors already."""
    path, authority = "/etc/rancher/k3s/registries.yaml", "/etc/rancher/k3s/edgeproxy-ca.crt"
    ca = f'configs:\n  "{mirror.host}":\n    tls:\n      ca_file: "{authority}"\n' if mirror.ca else ""
    each = "".join(f'  "{name}":\n    endpoint:\n      - "{mirror.url}"\n' for name in mirror.registries or ("*",))
    rest = without_block(look(path) or "")
    _check_room(rest, path, {"mirrors", "configs"} if ca else {"mirrors"}, mirror)
    gap = "\n" if rest and not rest.endswith("\n") else ""
    files = {path: f"{rest}{gap}{BEGIN}\nmirrors:\n{each}{ca}{END}\n"}
    return {**files, authority: mirror.ca} if mirror.ca else files


def _check_room(text: str, path: str, ours: set[str], mirror: Mirror) -> None:
    """Whether YAML has none of these keys, and is so plain that this can be seen. Raises `CannotEdit`."""
    for line in text.splitlines():
        plain = re.match(r"([a-z_]+):|#|\s|$", line)
        if not plain:
            raise CannotEdit(f'{path} is written in an unusual way: add the endpoint "{mirror.url}" to "*" by hand')
        if plain[1] in ours:
            raise CannotEdit(f'{path} has {plain[1]} of its own: add the endpoint "{mirror.url}" to "*" there')


CLIENTS: Mapping[str, Write] = {
    "containerd": containerd,
    "docker": docker,
    "crio": podman,
    "podman": podman,
    "k3s": k3s,
}
RESTARTS: Mapping[str, str] = {
    "containerd": "systemctl restart containerd",
    "docker": "systemctl restart docker",
    "crio": "systemctl reload crio",
    "k3s": "systemctl restart k3s",
}
"""What each needs to read its files again; podman reads them each time."""
