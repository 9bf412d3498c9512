"""dockerd with a store and a configuration of its own, and the docker command that speaks to it."""

import base64
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.parts.processes import Process, need, run

HUB = "https://index.docker.io/v1/"
"""Under which docker keeps the login of Docker Hub."""


_NOWHERE_ELSE = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
"""docker asks Docker Hub itself where the mirror fails: not here."""


class Docker:
    """What `docker` is told by a user with this home."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def knows(self, logins: Mapping[str, str]) -> None:
        """The logins, as `name:password` by registry, that `docker login` has left."""
        auths = {registry: {"auth": base64.b64encode(login.encode()).decode()} for registry, login in logins.items()}
        (self._home / "config.json").write_text(json.dumps({"auths": auths}))

    @property
    def env(self) -> dict[str, str]:
        """With which a `docker` that others start asks this daemon."""
        return {"DOCKER_CONFIG": str(self._home), "DOCKER_HOST": f"unix://{self._home}/docker.sock"}

    async def ask(self, *words: str) -> str:
        return await run("docker", "--config", self._home, "--host", f"unix://{self._home}/docker.sock", *words)

    async def digest(self, image: str) -> str:
        """Of the manifest or index that a pulled image is."""
        said = await self.ask("image", "inspect", "--format", "{{index .RepoDigests 0}}", image)
        return said.strip().partition("@")[2]


@asynccontextmanager
async def docker(mirror: str, settings: Path | None = None) -> AsyncIterator[Docker]:
    """A daemon that mirrors Docker Hub, and trusts the mirror without TLS; or one with settings that are there."""
    need("dockerd", "docker")
    with tempfile.TemporaryDirectory(prefix="dk-") as directory:  # its sockets take no more than 104 characters
        home = Path(directory)
        config = settings or home / "daemon.json"
        if settings is None:
            usual = {"registry-mirrors": [mirror], "insecure-registries": [mirror.removeprefix("http://")]}
            config.write_text(json.dumps(usual))
        where = ["--config-file", config, "--data-root", home / "data", "--exec-root", home / "exec"]
        alone = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"]
        address = ["--pidfile", home / "pid", "--host", f"unix://{home}/docker.sock"]
        process = Process(["dockerd", *map(str, [*where, *alone, *address])], home / "log", _NOWHERE_ELSE)
        client = Docker(home)
        client.knows({})
        await process.start(lambda: "API listen on" in (home / "log").read_text())
        try:
            yield client
        finally:
            await process.stop()
