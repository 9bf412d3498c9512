"""Real clients set up by `edgeproxy mirror`: pulls come through, and all is as it was afterwards."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.clients.test_files import everything
from tests.parts.clients import containerd
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.processes import free_port, need
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


async def test_podman_pulls_through_it(tmp_path: Path, proxy: Edgeproxy, root: Path) -> None:
    need("podman")
    before = everything(root)
    storage = tmp_path / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n')
    conf = root / "etc/containers/registries.conf.d/50-edgeproxy.conf"
    env = {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_REGISTRIES_CONF": str(conf)}
    code, said = mirror(root, "podman", *at(proxy), "--write", "--check", env=env)
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


@pytest.mark.parametrize(
    ("url", "words"),
    [("http://127.0.0.1:{free}", "is not reached"), ("https://127.0.0.1:{port}", "speaks no TLS")],
)
async def test_what_is_wrong_is_said_in_words(proxy: Edgeproxy, root: Path, url: str, words: str) -> None:
    code, said = mirror(root, "docker", "--url", url.format(free=free_port(), port=proxy.port), "--check")
    assert code == 1
    assert words in said


@pytest.mark.parametrize(
    "words", [["nginx"], ["docker", "--url", "edge:5000"], ["docker", "--url", "http://edge/v2"], ["docker", "--x"]]
)
def test_wrong_use_is_told_from_what_went_wrong(root: Path, words: list[str]) -> None:
    assert mirror(root, words[0], *words[1:])[0] == 2
