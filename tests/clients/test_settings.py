"""What clients' files say before and after."""

import json
import tomllib
from collections.abc import Mapping

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.clients.mirror import BEGIN, CannotEdit, Mirror
from edgeproxy.clients.settings import CLIENTS

EDGE = Mirror("http://edge:5000")
PEM = "-----BEGIN CERTIFICATE-----\n"
PATHED = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/certs.d"\n'
SAFE = Mirror("https://edge", PEM)
SOME = Mirror("https://edge", registries=("docker.io", "ghcr.io"))
CONFIG, HOSTS = "/etc/containerd/config.toml", "/etc/containerd/certs.d/_default/hosts.toml"
DAEMON, K3S = "/etc/docker/daemon.json", "/etc/rancher/k3s/registries.yaml"


def written(client: str, before: Mapping[str, str] | None = None, mirror: Mirror = EDGE) -> dict[str, str]:
    return CLIENTS[client](mirror, (before or {}).get)


def test_containerd_asks_for_every_registry_here() -> None:
    files = written("containerd")
    assert tomllib.loads(files[HOSTS]) == {"host": {"http://edge:5000": {"capabilities": ["pull", "resolve"]}}}
    registry = tomllib.loads(files[CONFIG])["plugins"]["io.containerd.grpc.v1.cri"]["registry"]
    assert registry == {"config_path": "/etc/containerd/certs.d"}
    safe = written("containerd", mirror=SAFE)
    authority = tomllib.loads(safe[HOSTS])["host"]["https://edge"]["ca"]
    assert safe[HOSTS.replace("hosts.toml", authority)] == PEM


def test_containerd_asks_for_some_registries_here_and_for_each_itself_next() -> None:
    files = written("containerd", {CONFIG: PATHED}, SOME)
    servers = {path: tomllib.loads(text)["server"] for path, text in files.items()}
    place = "/etc/containerd/certs.d"
    assert servers == {
        f"{place}/docker.io/hosts.toml": "https://registry-1.docker.io",
        f"{place}/ghcr.io/hosts.toml": "https://ghcr.io",
    }
    assert all(list(tomllib.loads(text)["host"]) == ["https://edge"] for text in files.values())


@pytest.mark.parametrize("text", ['disabled_plugins = ["cri"]\n', "[plugins.cri.registry]\r\n", "# nothing\n"])
def test_settings_without_a_version_are_of_the_first(text: str) -> None:
    after = written("containerd", {CONFIG: text})[CONFIG]
    assert tomllib.loads(after)["plugins"] == {"cri": {"registry": {"config_path": "/etc/containerd/certs.d"}}}
    assert after.startswith(text)
    assert after.count("\r\n") == (after.count("\n") if "\r" in text else 0)


LINES = st.sampled_from([
    "root = '/x'", "# [plugins]", "", "[grpc]", "  [debug] # x", "[plugins]", "[plugins.other]", 'config_path = ""',
    "[plugins.'io.containerd.grpc.v1.cri']", 'registry = {}', '[plugins."io.containerd.grpc.v1.cri".registry]',
    'registry.config_path = ""', "config_path = '/srv'", "uris = [", "[1]", "]", 'text = """', '"""', "[[a.b]]",
    "\ttext = 'a\u2028b\x85c'",
])  # fmt: skip


@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_whatever_containerds_settings_say_they_say_it_still(lines: list[str], end: str, ended: bool) -> None:
    text = "version = 2" + end + end.join(lines) + (end if ended else "")
    try:
        after = written("containerd", {CONFIG: text}).get(CONFIG, text)
    except CannotEdit:
        return
    registry = tomllib.loads(after)["plugins"]["io.containerd.grpc.v1.cri"]["registry"]
    assert registry["config_path"] in ("/etc/containerd/certs.d", "/srv")
    left = after.split(end)
    assert all(line in left for line in text.split(end) if "config_path" not in line)
    again = written("containerd", {CONFIG: after})
    assert again.get(CONFIG, after) == after


@pytest.mark.parametrize(("version", "plugin"), [(2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.images")])
@pytest.mark.parametrize(
    "section", ["", "[plugins.'{}'.registry]\n", '[plugins."{}".registry] # here\n  config_path = ""\n']
)
def test_containerd_keeps_its_other_settings(version: int, plugin: str, section: str) -> None:
    text = f"version = {version}\n# mine\nroot = '/data'\n{section.format(plugin)}"
    after = written("containerd", {CONFIG: text})[CONFIG]
    assert "# mine" in after
    expected = {
        "version": version,
        "root": "/data",
        "plugins": {plugin: {"registry": {"config_path": "/etc/containerd/certs.d"}}},
    }
    assert tomllib.loads(after) == expected


def test_containerd_with_a_path_of_its_own_is_taken_at_its_word() -> None:
    text = (
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/srv/hosts:/etc/docker/certs.d"\n'
    )
    assert list(written("containerd", {CONFIG: text})) == ["/srv/hosts/_default/hosts.toml"]


def test_hosts_that_are_there_are_asked_next() -> None:
    theirs = 'server = "https://origin"\nclient = [\n["a", "b"],\n]\n[host."http://other"]\n  capabilities = ["pull"]'
    after = tomllib.loads(written("containerd", {HOSTS: theirs})[HOSTS])
    assert after["server"] == "https://origin"
    assert list(after["host"]) == ["http://edge:5000", "http://other"]


def test_docker_keeps_its_settings_and_asks_here_first() -> None:
    before = {"log-driver": "local", "registry-mirrors": ["http://old"], "insecure-registries": ["edge:5000"]}
    after = json.loads(written("docker", {DAEMON: json.dumps(before, indent=4)})[DAEMON])
    assert after == {**before, "registry-mirrors": ["http://edge:5000", "http://old"]}
    safe = written("docker", mirror=SAFE)
    assert "insecure-registries" not in json.loads(safe[DAEMON])
    assert safe["/etc/docker/certs.d/edge/ca.crt"] == PEM
    right = '{"insecure-registries":["edge:5000"], "registry-mirrors":["http://edge:5000"]}'
    assert written("docker", {DAEMON: right})[DAEMON] == right


@pytest.mark.parametrize("client", ["podman", "crio"])
def test_podman_has_a_block_for_each_registry(client: str) -> None:
    (text,) = written(client).values()
    blocks = tomllib.loads(text)["registry"]
    assert blocks[1]["prefix"] == blocks[1]["location"] == "ghcr.io"
    assert blocks[1]["mirror"] == [{"location": "edge:5000/ghcr.io", "insecure": True}]
    (text,) = written(client, mirror=SOME).values()
    assert [each["mirror"] for each in tomllib.loads(text)["registry"]] == [
        [{"location": "edge/docker.io"}],
        [{"location": "edge/ghcr.io"}],
    ]
    assert written(client, mirror=SAFE)["/etc/containers/certs.d/edge/ca.crt"] == PEM


def test_k3s_asks_for_every_registry_here() -> None:
    text = written("k3s", {K3S: "# mine\nauth: x"})[K3S]
    assert text.startswith("# mine\nauth: x\n")
    assert yaml.safe_load(text) == {"auth": "x", "mirrors": {"*": {"endpoint": ["http://edge:5000"]}}}
    safe = written("k3s", mirror=SAFE)
    assert safe[yaml.safe_load(safe[K3S])["configs"]["edge"]["tls"]["ca_file"]] == PEM
    assert list(yaml.safe_load(written("k3s", mirror=SOME)[K3S])["mirrors"]) == ["docker.io", "ghcr.io"]


@pytest.mark.parametrize(
    ("client", "path", "text", "words"),
    [
        ("containerd", CONFIG, "version = ", "is no TOML"),
        ("containerd", CONFIG, "version = 4", "known are 1, 2, 3"),
        ("containerd", CONFIG, '[plugins.cri.registry.mirrors."docker.io"]\n', "does not take beside"),
        ("containerd", CONFIG, "[plugins.cri.registry.configs.x.tls]\n", "does not take beside"),
        ("containerd", CONFIG, "[plugins.cri]\nregistry = {}\n", r"to \[plugins.cri.registry\] by hand"),
        ("containerd", HOSTS, '[host."http://edge:5000"]\n', "was not written here: remove it"),
        ("containerd", HOSTS, 'host = {"http://a" = {}}\n', "put this before its other hosts"),
        ("docker", DAEMON, "{", "is no JSON"),
        ("docker", DAEMON, '{"a": 1, "a": 2}', "is there twice"),
        ("docker", DAEMON, "[]", "holds no object"),
        ("docker", DAEMON, '{"registry-mirrors": "x"}', "is no list"),
        ("podman", "/etc/containers/registries.conf", "[registries.search]\nregistries = []\n", "in format 1"),
        ("k3s", K3S, "mirrors:\n  docker.io:\n", "has mirrors of its own"),
        ("k3s", K3S, '"mirrors":\n  docker.io:\n', "in an unusual way"),
    ],
)
def test_what_cannot_be_changed_is_left_and_said(client: str, path: str, text: str, words: str) -> None:
    with pytest.raises(CannotEdit, match=words):
        written(client, {path: text})


@pytest.mark.parametrize("client", CLIENTS)
@given(st.sampled_from([EDGE, SAFE, SOME]))
def test_what_was_written_is_as_it_should_be(client: str, mirror: Mirror) -> None:
    files = written(client, mirror=mirror)
    again = written(client, files, mirror)
    assert again == {path: files[path] for path in again}
    assert all(text.count(BEGIN) <= 1 for text in again.values())


@pytest.mark.parametrize("client", CLIENTS)
def test_another_address_takes_the_place_of_the_first(client: str) -> None:
    files = written(client, written(client), SAFE)
    assert all(text.count(BEGIN) <= 1 for text in files.values())
    if client != "docker":
        assert all("edge:5000" not in text for text in files.values())
