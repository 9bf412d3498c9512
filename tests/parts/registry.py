"""A real docker-registry (distribution 2.8) on loopback, as an upstream or as the client's direct source."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.parts.processes import Process, free_port, need, responds

CONFIG = """\
version: 0.1
log: {{level: info, formatter: json, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {storage}}}
  delete: {{enabled: true}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "127.0.0.1:{port}", secret: loopback, relativeurls: true{tls}}}
"""


@dataclass(frozen=True)
class Entry:
    """One answered request by the registry's own account (which leaves out the Range header: see relay.py)."""

    method: str
    path: str
    status: int
    written: int


class DockerRegistry:
    """`async with DockerRegistry(directory) as registry:` — its storage outlives it, its log starts empty.

    directory: takes config.yml, registry.log and, unless `storage` names another place, storage/.
    proxy: the URL of a registry to pull through; such a registry takes no pushes.
    certificate, key: it speaks TLS by these. more: is appended to its configuration.
    """

    def __init__(
        self,
        directory: Path,
        storage: Path | None = None,
        proxy: str | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        more: str = "",
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}"
        self.storage = storage or directory / "storage"
        config, self.log = directory / "config.yml", directory / "registry.log"
        tls = f', tls: {{certificate: "{certificate}", key: "{key}"}}' if certificate else ""
        text = CONFIG.format(storage=json.dumps(str(self.storage)), port=self.port, tls=tls)
        config.write_text(text + (f"proxy: {{remoteurl: {json.dumps(proxy)}}}\n" if proxy else "") + more)
        self._process = Process(["docker-registry", "serve", config], self.log)

    async def start(self) -> None:
        """Start it, at the same port each time, and return when it answers."""
        need("docker-registry")
        await self._process.start(lambda: responds(f"{self.url}/v2/", (200, 401)))

    async def stop(self) -> None:
        """End it; a stopped registry may be started again."""
        await self._process.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def entries(self) -> list[Entry]:
        """Every request answered so far, in the order of their ends; the ping of `/v2/` is left out."""
        found = []
        for line in self.log.read_text().splitlines():
            record = json.loads(line) if line.startswith("{") else {}
            if "http.response.status" in record and record["http.request.uri"] != "/v2/":
                found.append(
                    Entry(
                        record["http.request.method"],
                        record["http.request.uri"],
                        record["http.response.status"],
                        record.get("http.response.written", 0),
                    )
                )
        return found

    def asked(self, method: str, part: str) -> list[Entry]:
        """The entries with this method whose path contains `part`, such as a digest."""
        return [entry for entry in self.entries if entry.method == method and part in entry.path]

    def blob_file(self, digest: str) -> Path:
        """Where the bytes of a blob lie, for a test that wants them wrong or gone."""
        algorithm, _, hexadecimal = digest.partition(":")
        root = self.storage / "docker/registry/v2/blobs"
        return root / algorithm / hexadecimal[:2] / hexadecimal / "data"
