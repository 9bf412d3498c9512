"""Real clients set up by `edgeproxy mirror`: pulls come through, and all is as it was afterwards."""

import os
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.access.test_users import hashed
from tests.clients.test_files import everything
from tests.parts.authorities import Certificates
from tests.parts.clients import containerd
from tests.parts.docker import docker
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.processes import free_port, need, run
from tests.parts.registry import DockerRegistry

IMAGE = "registry.test/team/docker:1.0"


@pytest.fixture
async def proxy(tmp_path: Path, registry: DockerRegistry, gallery: Gallery) -> AsyncIterator[Edgeproxy]:
    async with Edgeproxy(tmp_path / "proxy", {"registry.test": registry.url}) as proxy:
        yield proxy


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine's files, some of them there before."""
    root = tmp_path / "root"
    (root / "etc/containerd").mkdir(parents=True)
    (root / "etc/containerd/config.toml").write_text("version = 2\n# the site's own\n")
    (root / "etc/docker").mkdir()
    (root / "etc/docker/daemon.json").write_text('{"debug":false}')
    return root


def mirror(root: Path, client: str, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code, and all that was said."""
    command = [sys.executable, "-m", "edgeproxy", "mirror", client, "--root", str(root), *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, check=False)
    return done.returncode, done.stdout + done.stderr


def at(proxy: Edgeproxy) -> list[str]:
    return ["--url", proxy.url, "--admin", proxy.admin, "--image", IMAGE, "--registry", "registry.test"]


async def test_containerd_pulls_through_it(tmp_path: Path, proxy: Edgeproxy, root: Path) -> None:
    before = everything(root)
    async with containerd(tmp_path, proxy.url, "registry.test"):
        env = {"CONTAINERD_ADDRESS": str(tmp_path / "containerd/containerd.sock")}
        code, said = mirror(root, "containerd", *at(proxy), "--check", env=env)
        assert (code, "--write changes that" in said) == (1, True)
        code, said = mirror(root, "containerd", *at(proxy), "--write", "--check", env=env)
        assert code == 0, said
        assert f"{IMAGE} was pulled through" in said
        assert "systemctl restart containerd" in said
    assert mirror(root, "containerd", "--undo")[0] == 0
    assert everything(root) == before


def podman(tmp_path: Path, root: Path) -> dict[str, str]:
    """With which podman reads the files below `root`."""
    need("podman")
    storage = tmp_path / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n')
    conf = root / "etc/containers/registries.conf.d/50-edgeproxy.conf"
    own = tmp_path / "home/.config/containers"
    own.mkdir(parents=True)
    (own / "certs.d").symlink_to(root / "etc/containers/certs.d")
    env = {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_REGISTRIES_CONF": str(conf)}
    return {**env, "HOME": str(tmp_path / "home")}


async def test_podman_pulls_through_it(tmp_path: Path, proxy: Edgeproxy, root: Path) -> None:
    before = everything(root)
    code, said = mirror(root, "podman", *at(proxy), "--write", "--check", env=podman(tmp_path, root))
    assert code == 0, said
    assert f"{IMAGE} was pulled through" in said
    assert mirror(root, "podman", "--undo")[0] == 0
    assert everything(root) == before


async def test_a_pull_that_goes_past_it_is_seen(tmp_path: Path, proxy: Edgeproxy, root: Path) -> None:
    async with (
        containerd(tmp_path, proxy.url, "registry.test"),
        Edgeproxy(tmp_path / "other", {"registry.test": proxy.url}) as other,
    ):
        env = {"CONTAINERD_ADDRESS": str(tmp_path / "containerd/containerd.sock")}
        words = [*at(proxy)[:2], "--admin", other.admin, "--image", IMAGE]
        code, said = mirror(root, "containerd", *words, "--write", "--check", env=env)
    assert code == 1
    assert "was pulled past this proxy" in said


async def test_docker_pulls_through_it(tmp_path: Path, registry: DockerRegistry, gallery: Gallery, root: Path) -> None:
    before = everything(root)
    image = ["--image", "docker.io/team/docker:1.0"]
    async with Edgeproxy(tmp_path / "proxy", {"docker.io": registry.url}) as proxy:
        assert mirror(root, "docker", "--config", str(proxy.config), "--write")[0] == 0
        async with docker(proxy.url, root / "etc/docker/daemon.json") as daemon:
            code, said = mirror(root, "docker", "--config", str(proxy.config), *image, "--check", env=daemon.env)
            assert code == 0, said
            assert "docker.io/team/docker:1.0 was pulled through" in said
            assert await daemon.digest("team/docker:1.0") == gallery.docker.digest
    assert mirror(root, "docker", "--undo")[0] == 0
    assert everything(root) == before


async def test_containerd_and_podman_trust_the_authority_that_they_are_told_of(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, root: Path, signed: Certificates
) -> None:
    before = everything(root)
    tls = f'[tls]\ncertificate = "{signed.certificate}"\nkey = "{signed.key}"\n'
    async with (
        Edgeproxy(tmp_path / "proxy", {"registry.test": registry.url}, more=tls) as proxy,
        containerd(tmp_path, proxy.url, "registry.test"),
    ):
        env = {"CONTAINERD_ADDRESS": str(tmp_path / "containerd/containerd.sock"), **podman(tmp_path, root)}
        words = ["--config", str(proxy.config), *at(proxy)[4:], "--write", "--check"]
        for client in ("containerd", "podman"):
            code, said = mirror(root, client, *words, env=env)
            assert (code, "has a certificate of another authority" in said) == (1, True), said
            code, said = mirror(root, client, *words, "--ca", str(signed.authority), env=env)
            assert code == 0, said
            assert f"{IMAGE} was pulled through" in said
    assert [mirror(root, client, "--undo")[0] for client in ("containerd", "podman")] == [0, 0]
    assert everything(root) == before


async def test_a_registry_with_hosts_of_its_own_is_seen_to_go_past_it(proxy: Edgeproxy, root: Path) -> None:
    own = root / "etc/containerd/certs.d/registry.test/hosts.toml"
    own.parent.mkdir(parents=True)
    own.write_text('server = "http://127.0.0.1:9"\n')
    words = [*at(proxy)[:-2], "--write", "--check"]
    code, said = mirror(root, "containerd", *words)
    assert code == 1
    assert "is read instead of the one for all: --write --registry registry.test" in said


@pytest.mark.parametrize(
    ("client", "more", "code", "words"),
    [
        ("docker", ["--url", "http://127.0.0.1:{free}"], 3, "is not reached"),
        ("docker", ["--url", "https://127.0.0.1:{port}"], 1, "speaks no TLS"),
        ("docker", [], 1, "docker asks a mirror for docker.io only"),
        ("docker", ["--image", "docker.io/team/none:1.0"], 1, "/v2/team/none/manifests/1.0 is refused: "),
        ("containerd", ["--image", "other.test/team/docker:1.0"], 1, "other.test is not configured here"),
        ("podman", ["--image", "other.test/team/docker:1.0"], 1, "other.test is not configured here"),
        ("k3s", ["--url", "{registry}"], 1, "is a registry, and no edgeproxy"),
        ("crio", ["--url", "{admin}"], 1, "is no registry for its clients"),
    ],
)
async def test_what_is_wrong_is_said_in_words(
    registry: DockerRegistry, proxy: Edgeproxy, root: Path, client: str, more: list[str], code: int, words: str
) -> None:
    places = {"free": free_port(), "port": proxy.port, "registry": registry.url, "admin": proxy.admin}
    given = [*at(proxy), *(word.format(**places) for word in more), "--check"]
    ended, said = mirror(root, client, *given)
    assert (ended, words in said) == (code, True), said


async def test_docker_is_told_that_it_bypasses_a_mirror_that_asks_for_a_login(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, root: Path
) -> None:
    users = tmp_path / "users"
    users.write_text(f"alice:{hashed('right')}\n")
    auth = f'[auth]\nhtpasswd = "{users}"\nchallenge = ["127.0.0.1"]\npass_through = true\n'
    async with Edgeproxy(tmp_path / "proxy", {"docker.io": registry.url}, more=auth) as proxy:
        code, said = mirror(root, "docker", "--config", str(proxy.config), "--check")
    assert (code, "asks for a login (" in said, "bypasses it silently" in said) == (1, True, True), said


@pytest.mark.parametrize(
    "words",
    [
        ["nginx"],
        ["docker", "--url", "edge:5000"],
        ["docker", "--url", "http://edge/v2"],
        ["docker", "--x"],
        ["docker", "--ca", __file__],
        ["docker", "--image", "busybox"],
        ["podman", "--registry", "Not A Registry"],
    ],
)
def test_wrong_use_is_told_from_what_went_wrong(root: Path, words: list[str]) -> None:
    assert mirror(root, words[0], *words[1:])[0] == 2


@pytest.mark.parametrize(
    "settings",
    [
        None,
        "version = 2\n",
        'disabled_plugins = ["aufs"]\n',
        "version = 2\n[plugins]\n  [plugins.'io.containerd.grpc.v1.cri'.registry]\n    config_path = ''\n",
    ],
)
async def test_containerd_itself_finds_its_hosts_by_the_settings(root: Path, settings: str | None) -> None:
    need("containerd")
    file = root / "etc/containerd/config.toml"
    file.unlink() if settings is None else file.write_text(settings)
    assert mirror(root, "containerd", "--write")[0] == 0
    effective = tomllib.loads(await run("containerd", "--config", file, "config", "dump"))
    registry = effective["plugins"]["io.containerd.grpc.v1.cri"]["registry"]
    assert registry["config_path"] == "/etc/containerd/certs.d"


async def test_all_that_containerd_can_be_told_stays(root: Path) -> None:
    need("containerd")
    file = root / "etc/containerd/config.toml"
    default = await run("containerd", "config", "default")
    file.write_text(default)
    assert mirror(root, "containerd", "--write")[0] == 0
    before, after = default.splitlines(), file.read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [('      config_path = ""', '      config_path = "/etc/containerd/certs.d"')]
