"""Images go to a site without a link as a file, and are pulled there."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.parts.clients import client
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery
from tests.parts.processes import run
from tests.parts.registry import DockerRegistry

PUSHERS = '[[access]]\nallow = "pusher"\nto = ["*"]\n[[access]]\nallow = "puller"\nto = ["*"]\n'
INDEX, DOCKER = "registry.test/team/index:1.0", "registry.test/team/docker:1.0"


def edgeproxy(*words: str | Path) -> tuple[int, str]:
    command = [sys.executable, "-m", "edgeproxy", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def test_what_was_exported_is_pulled_at_a_site_without_a_link(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery
) -> None:
    file = tmp_path / "images.tar"
    async with Edgeproxy(tmp_path / "here", {"registry.test": registry.url}) as here:
        code, said = edgeproxy("export", INDEX, DOCKER, "-o", file, "--url", here.url)
        assert code == 0, said
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))  # what they share is in it once
    assert await run("skopeo", "inspect", "--raw", f"oci-archive:{file}:{INDEX}")  # other tools read it, too
    nowhere = {"registry.test": "http://127.0.0.1:9"}
    async with Edgeproxy(tmp_path / "there", nowhere, more=PUSHERS) as there:
        for _ in range(2):  # again is no harm
            code, said = edgeproxy("import", file, "--url", there.url, "--json")
            assert code == 0, said
            assert [each["name"] for each in json.loads(said)["images"]] == [INDEX, DOCKER]
        async with client("podman", tmp_path / "podman", there.url, "registry.test") as podman:
            await podman.pull("registry.test", "team/docker:1.0")
        async with client("skopeo", tmp_path / "skopeo", there.url, "registry.test") as skopeo:
            await skopeo.pull("registry.test", "team/index:1.0")
            assert await skopeo.digest("registry.test", "team/index:1.0") == gallery.index.digest


async def test_one_platform_alone(tmp_path: Path, registry: DockerRegistry, gallery: Gallery) -> None:
    async with Edgeproxy(tmp_path / "here", {"registry.test": registry.url}) as here:
        words = ("export", INDEX, "-o", tmp_path / "one.tar", "--url", here.url, "--platform")
        code, said = edgeproxy(*words, "linux/arm64")
        assert code == 0, said
        assert gallery.index.digest not in said
        code, said = edgeproxy(*words, "linux/s390x")
        assert (code, "it is for linux/amd64, linux/arm64" in said) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["export", "nginx", "-o", "{tmp}/x.tar"], 2, "names no image"),
        (["export", "registry.test/team/none:1.0", "-o", "{tmp}/x.tar"], 1, "unknown"),
        (["import", "{tmp}/absent"], 2, "does not exist"),
        (["import", "{tmp}/garbage"], 1, "holds no OCI image layout"),
        (["import", "{tmp}/empty.tar"], 1, "holds no OCI image layout"),
    ],
)
async def test_what_goes_wrong_is_told(
    tmp_path: Path, registry: DockerRegistry, words: list[str], code: int, told: str
) -> None:
    (tmp_path / "garbage").write_bytes(b"no tar" * 1000)
    tarfile.open(tmp_path / "empty.tar", "w").close()
    async with Edgeproxy(tmp_path / "here", {"registry.test": registry.url}) as here:
        found = edgeproxy(*(word.format(tmp=tmp_path) for word in words), "--url", here.url)
    assert (found[0], told in found[1]) == (code, True), found
    assert not list(tmp_path.glob(".x.tar*"))
