"""containerd: a hosts.toml for all registries or for some, where its own settings say that such files are."""

from edgeproxy.clients.mirror import BEGIN, END, CannotEdit, Look, Mirror, without_block
from edgeproxy.clients.toml import Table, parsed, under, with_first_host, with_value

CONFIG, HOSTS = "/etc/containerd/config.toml", "/etc/containerd/certs.d"
_PLUGINS = {1: "cri", 2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.images"}
"""The plugin that pulls, by the version of the settings' format: what another version calls it is not read."""


def containerd(mirror: Mirror, look: Look) -> dict[str, str]:
    """containerd says `ns` by itself, and goes on to the registry where the mirror fails."""
    text = look(CONFIG)
    files = {}
    place = hosts_directory(look)
    if place is None:
        place, settings = HOSTS, text if text and text.strip() else "version = 2\n"  # containerd 1 and 2 both take it
        files[CONFIG] = with_value(settings, CONFIG, _registry(settings), "config_path", HOSTS)
    for name in mirror.registries or ("_default",):
        files |= _hosts(mirror, name, f"{place}/{name}", look)
    return files


def hosts_directory(look: Look) -> str | None:
    """Where hosts.toml files are looked for, if anywhere. Raises `CannotEdit`."""
    text = look(CONFIG) or ""
    registry = under(parsed(text, CONFIG), _registry(text))
    if said := registry.get("config_path"):
        return str(said).split(":")[0].rstrip("/")
    if registry.get("mirrors") or any("tls" in each for each in _tables(registry.get("configs"))):
        raise CannotEdit(
            f"{CONFIG} has registry.mirrors or registry.configs with tls, which containerd does not take beside "
            f"config_path: move them to {HOSTS}, then try again"
        )
    return None


def origin(registry: str) -> str:
    """Where a registry is asked itself."""
    return "https://registry-1.docker.io" if registry == "docker.io" else f"https://{registry}"


def _registry(text: str) -> tuple[str, str, str]:
    """The keys of the table with `config_path`. Settings that do not say their version are of the first."""
    version = parsed(text, CONFIG).get("version", 1 if text.strip() else 2)
    if version not in _PLUGINS:
        raise CannotEdit(f"{CONFIG} says version = {version!r}: known are {', '.join(map(str, _PLUGINS))}")
    return "plugins", _PLUGINS[version], "registry"


def _tables(found: object) -> list[Table]:
    return [each for each in found.values() if isinstance(each, dict)] if isinstance(found, dict) else []


def _hosts(mirror: Mirror, name: str, directory: str, look: Look) -> dict[str, str]:
    path, authority = f"{directory}/hosts.toml", "edgeproxy-ca.crt"
    ca = f'  ca = "{authority}"\n' if mirror.ca else ""  # containerd looks for it beside this file
    block = f'{BEGIN}\n[host."{mirror.url}"]\n  capabilities = ["pull", "resolve"]\n{ca}{END}\n'
    found = look(path)
    text = without_block(found or "")
    if not text and name != "_default":
        text = f'server = "{origin(name)}"\n'
    files = {path: with_first_host(text, path, mirror.url, block)}
    return {**files, f"{directory}/{authority}": mirror.ca} if mirror.ca else files
