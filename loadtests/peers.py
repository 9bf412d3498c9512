"""The contestants: each a cache in front of the same origin, access logs off, everything else as good as it gets."""

import contextlib
import getpass
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.parts.images import OCI_CONFIG, OCI_GZIP, OCI_MANIFEST, Pusher, digest_of
from tests.parts.processes import Process, free_port, responds

REPOSITORY = "library/bench"

_REGISTRY = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  filesystem: {{rootdirectory: {storage}}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "127.0.0.1:{port}", secret: loopback}}
{proxy}
"""
_NGINX = """\
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
user {user};
daemon off;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_requests 100000000; keepalive_timeout 120s;
  open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s; open_file_cache_min_uses 1;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  proxy_cache_path {directory}/cache levels=1:2 keys_zone=c:50m max_size=50g inactive=1d use_temp_path=off;
  upstream origin {{ {servers} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache c; proxy_cache_key $request_uri; proxy_cache_valid 200 1h; proxy_cache_lock on;
      proxy_cache_lock_timeout 60s; proxy_cache_lock_age 60s; proxy_max_temp_file_size 4096m;
    }}
  }}
}}
"""
_EDGEPROXY = """\
listen = "127.0.0.1:{port}"
admin = "127.0.0.1:{admin}"
data = "{directory}/data"
log_level = "warning"
[cache]
budget = "50GB"
reserve = "0%"
[registry."docker.io"]
{upstreams}
[[rule]]
match = "*"
fresh = "1d"
{more}
"""
_UPSTREAM = """\
[[registry."docker.io".upstream]]
url = "{origin}"
"""


@dataclass(frozen=True)
class Contestant:
    name: str
    url: str
    process: Process
    admin: str = ""
    """Where edgeproxy is administered."""

    def high_water(self) -> int:
        """Peak resident bytes of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def cpu_seconds(self) -> float:
        """What the process and its workers, all of one session, have used of the processors so far."""
        ticks = 0
        for file in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = file.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def in_turn(contestants: Sequence[Contestant], number: int) -> list[Contestant]:
    """Who begins changes from round to round."""
    first = number % len(contestants)
    return [*contestants[first:], *contestants[:first]]


@asynccontextmanager
async def running(name: str, url: str, ready: str, process: Process, admin: str = "") -> AsyncIterator[Contestant]:
    await process.start(lambda: responds(ready))
    try:
        yield Contestant(name, url, process, admin)
    finally:
        await process.stop()


@asynccontextmanager
async def docker_registry(directory: Path, origin: str | None = None) -> AsyncIterator[Contestant]:
    """The origin itself, or with `origin` a pull-through cache of it."""
    directory.mkdir(parents=True)
    port = free_port()
    proxy = f"proxy: {{remoteurl: {json.dumps(origin)}}}" if origin else ""
    config = directory / "config.yml"
    config.write_text(_REGISTRY.format(storage=json.dumps(str(directory / "storage")), port=port, proxy=proxy))
    process = Process(["docker-registry", "serve", config], directory / "log")
    url = f"http://127.0.0.1:{port}"
    async with running("docker-registry", url, f"{url}/v2/", process) as contestant:
        yield contestant


@asynccontextmanager
async def nginx(directory: Path, *origins: str) -> AsyncIterator[Contestant]:
    """In front of one origin, or of several with the same content."""
    directory.mkdir(parents=True)
    port = free_port()
    servers = " ".join(f"server {origin.removeprefix('http://')};" for origin in origins)
    config = directory / "nginx.conf"
    config.write_text(_NGINX.format(directory=directory, user=getpass.getuser(), servers=servers, port=port))
    process = Process(["nginx", "-c", config, "-p", directory], directory / "log")
    url = f"http://127.0.0.1:{port}"
    async with running("nginx", url, f"{url}/v2/", process) as contestant:
        yield contestant


@asynccontextmanager
async def edgeproxy(directory: Path, *origins: str, more: str = "") -> AsyncIterator[Contestant]:
    """In front of one origin, or of several with the same content; `more` is appended to its configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    port, admin = free_port(), free_port()
    config = directory / "edgeproxy.toml"
    upstreams = "".join(_UPSTREAM.format(origin=origin) for origin in origins)
    config.write_text(_EDGEPROXY.format(port=port, admin=admin, directory=directory, upstreams=upstreams, more=more))
    process = Process([sys.executable, "-m", "edgeproxy", "serve", "-c", config], directory / "log")
    administered = f"http://127.0.0.1:{admin}"
    async with running(
        "edgeproxy", f"http://127.0.0.1:{port}", f"{administered}/readyz", process, administered
    ) as contestant:
        yield contestant


@asynccontextmanager
async def peers(directory: Path, origin: str, more: str = "") -> AsyncIterator[list[Contestant]]:
    """All three caches in front of one origin; `more` is appended to edgeproxy's configuration."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(edgeproxy(directory / "edgeproxy", origin, more=more)),
            await stack.enter_async_context(nginx(directory / "nginx", origin)),
            await stack.enter_async_context(docker_registry(directory / "proxy", origin)),
        ]


def layer_bytes(size: int, seed: int = 0) -> bytes:
    """Incompressible, and the same in every run."""
    return random.Random(f"{size}/{seed}").randbytes(size)


@dataclass(frozen=True)
class Image:
    """The digests of what was pushed."""

    tag: str
    manifest: str
    config: str
    layers: Sequence[str]


async def push_image(origin: str, layers: Sequence[bytes], tag: str) -> Image:
    """Push an image of these layers; its manifest and its config have the size of an everyday image's."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "history": ["x" * 3900], "tag": tag}).encode()
    async with aiohttp.ClientSession() as session:
        pusher = Pusher(session, origin, REPOSITORY)
        digests = [await pusher.blob(layer) for layer in layers]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": await pusher.blob(config), "size": len(config)},
            "layers": [
                {"mediaType": OCI_GZIP, "digest": digest, "size": len(layer)}
                for digest, layer in zip(digests, layers, strict=True)
            ],
            "annotations": {"org.opencontainers.image.description": "y" * 1500},
        }
        pushed = await pusher.manifest(document, tag)
    return Image(tag, pushed.digest, digest_of(config), digests)
