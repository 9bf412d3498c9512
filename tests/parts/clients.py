"""Real clients, each with a state of its own that can be emptied, and the mirror as their operators configure it."""

import base64
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

from tests.parts.images import digest_of
from tests.parts.processes import Process, need, run

_UNREACHABLE = "http://127.0.0.1:9"
"""What stands for the origin in a client's configuration: nothing can be pulled past the mirror."""


class Client(Protocol):
    """`registry` is the name under which the mirror is asked for images."""

    async def pull(self, registry: str, image: str, login: str = "") -> None:
        """Pull `image`, as `repository:tag`, with a login as `name:password` where one is given.

        Raises `CommandError` with all that the client said.
        """
        ...

    async def digest(self, registry: str, image: str) -> str:
        """Of the manifest or index that the pulled `image` is, by the client's own account."""
        ...

    async def empty(self) -> None:
        """Forget everything that was pulled."""
        ...


class Skopeo:
    """Copies every platform into a directory. Unless `configured`, the mirror is named in each reference.

    Configured, the mirror stands in registries.conf, and references name the registry.
    """

    def __init__(self, directory: Path, mirror: str, registry: str, configured: bool, certs: Path | None) -> None:
        need("skopeo")
        self._home = directory / "skopeo"
        self._home.mkdir(parents=True)
        self._target = self._home / "image"
        self._mirror = mirror.partition("://")[2]
        self._place = "" if configured else f"{self._mirror}/"
        self._conf = _registries_conf(self._home, mirror, registry)
        self._trust = f"--src-cert-dir={certs}" if certs else "--src-tls-verify=false"

    async def pull(self, registry: str, image: str, login: str = "") -> None:
        await self.empty()
        settings: list[str | Path] = ["--registries-conf", self._conf, "--insecure-policy"]
        words: list[str | Path] = ["copy", "--quiet", "--all", self._trust]
        source = f"docker://{self._place}{registry}/{image}"
        env = _logged_in(self._home, self._mirror, login)
        await run("skopeo", *settings, *words, source, f"dir:{self._target}", env=env)

    async def push(self, registry: str, image: str) -> None:
        """What was pulled last, all of its platforms, under another name."""
        settings: list[str | Path] = ["--registries-conf", self._conf, "--insecure-policy"]
        words: list[str | Path] = ["copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false"]
        await run("skopeo", *settings, *words, f"dir:{self._target}", f"docker://{self._mirror}/{registry}/{image}")

    async def delete(self, registry: str, image: str) -> None:
        """The manifest that a tag names, by its digest."""
        settings: list[str | Path] = ["--registries-conf", self._conf, "--insecure-policy"]
        await run("skopeo", *settings, "delete", "--tls-verify=false", f"docker://{self._mirror}/{registry}/{image}")

    async def digest(self, registry: str, image: str) -> str:
        """Every blob that was copied is looked at, too."""
        for file in self._target.iterdir():
            if len(file.name) == 64:
                assert digest_of(file.read_bytes()) == f"sha256:{file.name}"
        return digest_of((self._target / "manifest.json").read_bytes())

    async def empty(self) -> None:
        shutil.rmtree(self._target, ignore_errors=True)


class Containers:
    """podman and buildah: the mirror stands in registries.conf, again with the registry in the path."""

    def __init__(
        self, program: str, directory: Path, runroot: str, mirror: str, registry: str, certs: Path | None
    ) -> None:
        need(program)
        self._program = program
        self._home = directory / program
        self._home.mkdir(parents=True)
        self._run = runroot
        self._mirror = mirror.partition("://")[2]
        self._login: dict[str, str] = {}
        self._conf = _registries_conf(self._home, mirror, registry)
        self._trust = [f"--cert-dir={certs}"] if certs else []
        self._policy = self._home / "policy.json"
        self._policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))

    async def pull(self, registry: str, image: str, login: str = "") -> None:
        self._login = _logged_in(self._home, self._mirror, login)
        await self._ask("pull", "--quiet", *self._trust, "--signature-policy", self._policy, f"{registry}/{image}")

    async def push(self, source: str, registry: str, image: str) -> None:
        """A pulled image, as `registry/repository:tag`, under another name."""
        target = f"docker://{self._mirror}/{registry}/{image}"
        words: list[str | Path] = ["push", "--quiet", "--tls-verify=false", "--signature-policy", self._policy]
        await self._ask(*words, source, target)

    async def digest(self, registry: str, image: str) -> str:
        named = await self._ask("images", "--digests", "--format", "{{.Digest}}", f"{registry}/{image}")
        return named.strip()

    async def _ask(self, *words: str | Path) -> str:
        where: list[str | Path] = ["--root", self._home / "root", "--runroot", self._run, "--storage-driver", "vfs"]
        if self._program == "podman":
            where += ["--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        env = {"CONTAINERS_REGISTRIES_CONF": str(self._conf), **self._login}
        return await run(self._program, *where, *words, env=env)

    async def empty(self) -> None:
        shutil.rmtree(self._home / "root", ignore_errors=True)


def _logged_in(directory: Path, mirror: str, login: str) -> dict[str, str]:
    """What `skopeo login` and `podman login` write, for the mirror."""
    file = directory / "auth.json"
    auths = {mirror: {"auth": base64.b64encode(login.encode()).decode()}} if login else {}
    file.write_text(json.dumps({"auths": auths}))
    return {"REGISTRY_AUTH_FILE": str(file)}


def _registries_conf(directory: Path, mirror: str, registry: str) -> Path:
    """Where `registry` is asked for at the mirror, by a path prefix, and at no other place."""
    conf = directory / "registries.conf"
    conf.write_text(
        f'[[registry]]\nprefix = "{registry}"\nlocation = "{_UNREACHABLE.removeprefix("http://")}"\n'
        "insecure = true\n"
        f'[[registry.mirror]]\nlocation = "{mirror.partition("://")[2]}/{registry}"\n'
        f"insecure = {'false' if mirror.startswith('https:') else 'true'}\n"
    )
    return conf


@contextmanager
def containers(
    program: str, directory: Path, mirror: str, registry: str, certs: Path | None = None
) -> Iterator[Containers]:
    with tempfile.TemporaryDirectory(prefix="run-") as runroot:  # podman takes no more than 50 characters
        yield Containers(program, directory, runroot, mirror, registry, certs)


class Containerd:
    """A containerd of its own, asked with ctr; it says `ns=<registry>`."""

    def __init__(self, home: Path, process: Process, hosts: Path) -> None:
        self._socket = home / "containerd.sock"
        self._process = process
        self._hosts = hosts

    async def ctr(self, *words: str) -> str:
        return await run("ctr", "--address", self._socket, *words)

    async def pull(self, registry: str, image: str, login: str = "") -> None:
        words = ["--hosts-dir", str(self._hosts), "--snapshotter", "native", *(["--user", login] if login else [])]
        await self.ctr("images", "pull", *words, f"{registry}/{image}")

    async def push(self, source: str, registry: str, image: str) -> None:
        """A pulled image, as `registry/repository:tag`, under another name."""
        await self.ctr("images", "push", "--hosts-dir", str(self._hosts), f"{registry}/{image}", source)

    async def digest(self, registry: str, image: str) -> str:
        listed = await self.ctr("images", "list", f"name=={registry}/{image}")
        return listed.splitlines()[1].split()[2]

    async def empty(self) -> None:
        names = (await self.ctr("images", "list", "--quiet")).split()
        if names:
            await self.ctr("images", "remove", "--sync", *names)
        left = await self.ctr("content", "list", "--quiet")
        assert not left.split(), f"containerd still holds {left}"


@asynccontextmanager
async def containerd(
    directory: Path, mirror: str, registry: str, certs: Path | None = None
) -> AsyncIterator[Containerd]:
    need("containerd", "ctr")
    home = directory / "containerd"
    hosts = home / "certs.d"
    (hosts / registry).mkdir(parents=True)
    (hosts / registry / "hosts.toml").write_text(
        f'server = "{_UNREACHABLE}"\n[host."{mirror}"]\n  capabilities = ["pull", "resolve", "push"]\n{_of_host(certs)}'
    )
    config = home / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{home}/containerd.sock"\n[ttrpc]\naddress = "{home}/containerd.sock.ttrpc"\n'
    )
    process = Process(["containerd", "--config", config], home / "log")
    await process.start(lambda: (home / "containerd.sock").exists())
    try:
        yield Containerd(home, process, hosts)
    finally:
        await process.stop()


def _of_host(certs: Path | None) -> str:
    if certs is None:
        return ""
    own = f'  client = [["{certs}/client.cert", "{certs}/client.key"]]\n' if (certs / "client.cert").exists() else ""
    return f'  ca = "{certs}/ca.crt"\n{own}'


CLIENTS = ("skopeo", "skopeo-configured", "podman", "buildah", "containerd")


@asynccontextmanager
async def client(
    name: str, directory: Path, mirror: str, registry: str, certs: Path | None = None
) -> AsyncIterator[Client]:
    """One of `CLIENTS`, which has pulled nothing yet.

    `certs` is for a mirror that speaks TLS: the files of a directory as Docker has it, `ca.crt` and, where the client
    has a certificate, `client.cert` and `client.key`.
    """
    match name:
        case "skopeo" | "skopeo-configured":
            yield Skopeo(directory, mirror, registry, name == "skopeo-configured", certs)
        case "podman" | "buildah":
            with containers(name, directory, mirror, registry, certs) as pulled:
                yield pulled
        case "containerd":
            async with containerd(directory, mirror, registry, certs) as daemon:
                yield daemon
        case _:
            raise ValueError(f"no client is called {name}")
