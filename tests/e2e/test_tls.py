"""Real clients pull through TLS, and show who they are."""

from pathlib import Path

import pytest

from tests.parts.authorities import Authority
from tests.parts.clients import CLIENTS, client
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery, digest_of
from tests.parts.processes import CommandError, need, run
from tests.parts.registry import DockerRegistry

REGISTRY = "registry.test"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need("openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def section(authority: Authority) -> str:
    """Of a proxy that is for clients with a certificate only."""
    server = authority.signs("server", "IP:127.0.0.1")
    ours = f'certificate = "{server.certificate}"\nkey = "{server.key}"\n'
    return f'[tls]\n{ours}client_ca = "{authority.certificate}"\nmtls = "required"\n'


@pytest.fixture(scope="module")
def certs(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a client with a certificate has."""
    directory = tmp_path_factory.mktemp("certs")
    signed = authority.signs("client", "DNS:client.test")
    files = {"ca.crt": authority.certificate, "client.cert": signed.certificate, "client.key": signed.key}
    for name, file in files.items():
        (directory / name).write_bytes(file.read_bytes())
    return directory


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_pulls_with_its_certificate_and_not_without(
    name: str, tmp_path: Path, registry: DockerRegistry, gallery: Gallery, section: str, certs: Path
) -> None:
    nameless = tmp_path / "nameless"
    nameless.mkdir()
    (nameless / "ca.crt").write_bytes((certs / "ca.crt").read_bytes())
    async with Edgeproxy(tmp_path / "edge", {REGISTRY: registry.url}, more=section) as proxy:
        mirror = f"https://127.0.0.1:{proxy.port}"
        async with client(name, tmp_path / "known", mirror, REGISTRY, certs) as known:
            for _ in ("cold", "warm"):
                await known.empty()
                await known.pull(REGISTRY, "team/index:1.0")
                assert await known.digest(REGISTRY, "team/index:1.0") == gallery.index.digest
        async with client(name, tmp_path / "unknown", mirror, REGISTRY, nameless) as unknown:
            with pytest.raises(CommandError, match="certificate required"):
                await unknown.pull(REGISTRY, "team/index:1.0")


async def test_curl_with_and_without_a_certificate(
    tmp_path: Path, registry: DockerRegistry, gallery: Gallery, section: str, certs: Path
) -> None:
    need("curl")
    blob = gallery.docker.blobs[-1]
    async with Edgeproxy(tmp_path / "edge", {REGISTRY: registry.url}, more=section) as proxy:
        url = f"https://127.0.0.1:{proxy.port}/v2/team/docker/blobs/{blob}"
        known: list[str | Path] = ["curl", "-sSf", "--cacert", certs / "ca.crt", "--cert", certs / "client.cert"]
        known += ["--key", certs / "client.key"]
        file = tmp_path / "blob"
        for _ in ("cold", "warm"):
            await run(*known, "-o", file, url)
            assert digest_of(file.read_bytes()) == blob
        await run(*known, "-r", "1-", "-o", tmp_path / "rest", url)
        assert (tmp_path / "rest").read_bytes() == file.read_bytes()[1:]
        with pytest.raises(CommandError, match="certificate required"):
            await run("curl", "-sSf", "--cacert", certs / "ca.crt", url)
        assert "write https://" in await run("curl", "-sS", url.replace("https:", "http:"))
