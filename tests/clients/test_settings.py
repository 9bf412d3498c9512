"""What clients' files say before and after."""

import json
import tomllib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.clients.settings import BEGIN, CLIENTS, CannotEdit, Mirror

EDGE = Mirror("http://edge:5000")
SAFE = Mirror("https://edge", "/etc/edge.pem", ("docker.io",))
CONFIG, HOSTS = "/etc/containerd/config.toml", "/etc/containerd/certs.d/_default/hosts.toml"
DAEMON, K3S = "/etc/docker/daemon.json", "/etc/rancher/k3s/registries.yaml"


def written(client: str, before: Mapping[str, str] | None = None, mirror: Mirror = EDGE) -> dict[str, str]:
    return CLIENTS[client](mirror, (before or {}).get)


def test_containerd_asks_for_every_registry_here() -> None:
    files = written("containerd")
    assert tomllib.loads(files[HOSTS]) == {"host": {"http://edge:5000": {"capabilities": ["pull", "resolve"]}}}
    registry = tomllib.loads(files[CONFIG])["plugins"]["io.containerd.grpc.v1.cri"]["registry"]
    assert registry == {"config_path": "/etc/containerd/certs.d"}
    assert tomllib.loads(written("containerd", mirror=SAFE)[HOSTS])["host"]["https://edge"]["ca"] == "/etc/edge.pem"


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
    text = '[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/srv/hosts:/etc/docker/certs.d"\n'
    assert list(written("containerd", {CONFIG: text})) == ["/srv/hosts/_default/hosts.toml"]


def test_hosts_that_are_there_are_asked_next() -> None:
    theirs = 'server = "https://origin"\n[host."http://other"]\n  capabilities = ["pull"]'
    after = tomllib.loads(written("containerd", {HOSTS: theirs})[HOSTS])
    assert after["server"] == "https://origin"
    assert list(after["host"]) == ["http://edge:5000", "http://other"]


def test_docker_keeps_its_settings_and_asks_here_first() -> None:
    before = {"log-driver": "local", "registry-mirrors": ["http://old"], "insecure-registries": ["edge:5000"]}
    after = json.loads(written("docker", {DAEMON: json.dumps(before, indent=4)})[DAEMON])
    assert after == {**before, "registry-mirrors": ["http://edge:5000", "http://old"]}
    assert "insecure-registries" not in json.loads(written("docker", mirror=SAFE)[DAEMON])


@pytest.mark.parametrize("client", ["podman", "crio"])
def test_podman_has_a_block_for_each_registry(client: str) -> None:
    (text,) = written(client).values()
    blocks = tomllib.loads(text)["registry"]
    assert blocks[1]["prefix"] == blocks[1]["location"] == "ghcr.io"
    assert blocks[1]["mirror"] == [{"location": "edge:5000/ghcr.io", "insecure": True}]
    (text,) = written(client, mirror=SAFE).values()
    assert tomllib.loads(text)["registry"][0]["mirror"] == [{"location": "edge/docker.io"}]


def test_k3s_asks_for_every_registry_here() -> None:
    text = written("k3s", {K3S: "# mine\n"})[K3S]
    assert text.startswith("# mine\n")
    assert '  "*":\n    endpoint:\n      - "http://edge:5000"\n' in text
    assert 'ca_file: "/etc/edge.pem"' in written("k3s", mirror=SAFE)[K3S]


@pytest.mark.parametrize(
    ("client", "path", "text", "words"),
    [
        ("containerd", CONFIG, "version = ", "is no TOML"),
        (
            "containerd",
            CONFIG,
            '[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\n',
            "does not take beside",
        ),
        ("docker", DAEMON, "{", "is no JSON"),
        ("docker", DAEMON, "[]", "holds no object"),
        ("docker", DAEMON, '{"registry-mirrors": "x"}', "is no list"),
        ("k3s", K3S, "mirrors:\n  docker.io:\n", "has mirrors or configs of its own"),
    ],
)
def test_what_cannot_be_changed_is_left_and_said(client: str, path: str, text: str, words: str) -> None:
    with pytest.raises(CannotEdit, match=words):
        written(client, {path: text})


@pytest.mark.parametrize("client", CLIENTS)
@given(st.sampled_from([EDGE, SAFE]))
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
