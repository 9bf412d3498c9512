"""What each client's own files have to say for it to pull through here, and fall back to the registry itself. Pure."""

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

REGISTRIES = (
    "docker.io", "ghcr.io", "quay.io", "registry.k8s.io", "gcr.io", "mcr.microsoft.com", "public.ecr.aws",
)  # fmt: skip
BEGIN, END = "# begin of what edgeproxy mirror wrote", "# end of what edgeproxy mirror wrote"
_CONFIG = "/etc/containerd/config.toml"
_HOSTS = "/etc/containerd/certs.d"


class CannotEdit(Exception):
    """A file that is there says something that cannot be changed without knowing what is meant by it."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """The daemon as its clients see it."""

    url: str
    """http://edge:5000"""
    ca: str = ""
    """The path of the file with its authority's certificate, where clients do not trust that yet."""
    registries: Sequence[str] = REGISTRIES
    """For those clients that name each."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def plain(self) -> bool:
        return self.url.startswith("http:")


Write = Callable[[Mirror, Callable[[str], str | None]], dict[str, str]]
"""From what files say now, by a look at each, to what they have to say."""


def containerd(mirror: Mirror, look: Callable[[str], str | None]) -> dict[str, str]:
    """hosts.toml for every registry; and `config_path`, where containerd's own settings do not say it yet."""
    config = look(_CONFIG)
    written, place = _with_config_path(config or "")
    hosts = f"{place}/_default/hosts.toml"
    ca = f'  ca = "{mirror.ca}"\n' if mirror.ca else ""
    block = f'[host."{mirror.url}"]\n  capabilities = ["pull", "resolve"]\n{ca}'
    files = {hosts: _before_tables(look(hosts) or "", block)}
    return files if written == config else {_CONFIG: written, **files}


def _with_config_path(text: str) -> tuple[str, str]:
    """The settings with a `config_path`, and its first directory. Raises `CannotEdit`."""
    settings = _toml(text, _CONFIG)
    version = settings.get("version", 2)
    plugin = "io.containerd.cri.v1.images" if version == 3 else "io.containerd.grpc.v1.cri"
    registry = settings.get("plugins", {}).get(plugin, {}).get("registry", {})
    if registry.get("config_path"):
        return text, str(registry["config_path"]).split(":")[0].rstrip("/")
    if registry.get("mirrors") or registry.get("configs"):
        raise CannotEdit(
            f"{_CONFIG} has registry.mirrors or registry.configs, which containerd does not take beside config_path: "
            f"move them to {_HOSTS}, then try again"
        )
    names = {f'[plugins."{plugin}".registry]', f"[plugins.'{plugin}'.registry]"}
    lines = [line for line in text.splitlines() if not _is_empty_path(line)] if registry else text.splitlines()
    found = [place for place, line in enumerate(lines) if line.split("#")[0].strip() in names]
    path = f'config_path = "{_HOSTS}"'
    if found:
        lines.insert(found[0] + 1, f"  {path}")
    else:
        lines = lines or ["version = 2"]
        lines += ["", f'[plugins."{plugin}".registry]', f"  {path}"]
    return "\n".join(lines) + "\n", _HOSTS


def _is_empty_path(line: str) -> bool:
    name, equals, value = line.split("#")[0].partition("=")
    return name.strip() == "config_path" and bool(equals) and value.strip() in ('""', "''")


def docker(mirror: Mirror, look: Callable[[str], str | None]) -> dict[str, str]:
    """daemon.json. Docker mirrors docker.io only, and trusts authorities by a file for each host."""
    path = "/etc/docker/daemon.json"
    text = look(path)
    try:
        settings = json.loads(text or "{}")
    except ValueError as error:
        raise CannotEdit(f"{path} is no JSON: {error}; mend it, or move it away") from error
    if not isinstance(settings, dict):
        raise CannotEdit(f"{path} holds no object; mend it, or move it away")
    _put_first(settings, "registry-mirrors", mirror.url, path)
    if mirror.plain:
        _put_first(settings, "insecure-registries", mirror.host, path)
    indent = next((len(line) - len(line.lstrip()) for line in (text or "").splitlines() if line.startswith(" ")), 2)
    return {path: json.dumps(settings, indent=indent, ensure_ascii=False) + "\n"}


def _put_first(settings: dict[str, Any], key: str, item: str, path: str) -> None:
    known = settings.get(key, [])
    if not isinstance(known, list):
        raise CannotEdit(f"{key} in {path} is no list; mend it, or move the file away")
    settings[key] = [item, *(each for each in known if each != item)]


def podman(mirror: Mirror, look: Callable[[str], str | None]) -> dict[str, str]:
    """A file of its own, with a block for each registry: containers/image has no default for all."""
    blocks = [
        f'[[registry]]\nprefix = "{name}"\nlocation = "{name}"\n[[registry.mirror]]\n'
        f'location = "{mirror.host}/{name}"\n{"insecure = true" if mirror.plain else ""}\n'
        for name in mirror.registries
    ]
    return {"/etc/containers/registries.conf.d/50-edgeproxy.conf": "\n".join([BEGIN, *blocks, END, ""])}


def k3s(mirror: Mirror, look: Callable[[str], str | None]) -> dict[str, str]:
    """registries.yaml, for every registry. Raises `CannotEdit` where it has mirrors already."""
    path = "/etc/rancher/k3s/registries.yaml"
    ca = f'configs:\n  "{mirror.host}":\n    tls:\n      ca_file: "{mirror.ca}"\n' if mirror.ca else ""
    block = f'{BEGIN}\nmirrors:\n  "*":\n    endpoint:\n      - "{mirror.url}"\n{ca}{END}\n'
    rest = _without_block(look(path) or "")
    words = {line.split(":")[0] for line in rest.splitlines() if line[:1].isalpha()}
    if "mirrors" in words or (ca and "configs" in words):
        raise CannotEdit(f'{path} has mirrors or configs of its own: add the endpoint "{mirror.url}" to "*" there')
    return {path: rest + block}


def _before_tables(text: str, block: str) -> str:
    """TOML with this block before all tables: the hosts of a hosts.toml are tried in their order."""
    lines = _without_block(text).splitlines(keepends=True)
    place = next((place for place, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    if lines[:place] and not lines[place - 1].endswith("\n"):
        lines[place - 1] += "\n"
    return "".join([*lines[:place], f"{BEGIN}\n{block}{END}\n", *lines[place:]])


def _without_block(text: str) -> str:
    before, begin, rest = text.partition(f"{BEGIN}\n")
    return before + rest.partition(f"{END}\n")[2] if begin else text


def _toml(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CannotEdit(f"{path} is no TOML: {error}; mend it, or move it away") from error


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
