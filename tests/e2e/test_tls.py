"""Real clients pull through TLS, and show who they are."""

from pathlib import Path

import pytest

from tests.e2e.guarded import SECRET, behind_tokens
from tests.parts.authorities import Authority
from tests.parts.clients import CLIENTS, client
from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Gallery, digest_of
from tests.parts.processes import CommandError, need, run
from tests.parts.registry import DockerRegistry
from tests.parts.tokens import TokenServer

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
    return certified(authority, tmp_path_factory.mktemp("certs"), "client")


def certified(authority: Authority, directory: Path, name: str) -> Path:
    """What a client with a certificate has; without one where the name is empty."""
    directory.mkdir(exist_ok=True)
    files = {"ca.crt": authority.certificate}
    if name:
        signed = authority.signs(name, f"DNS:{name}.test")
        files |= {"client.cert": signed.certificate, "client.key": signed.key}
    for called, file in files.items():
        (directory / called).write_bytes(file.read_bytes())
    return directory


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_pulls_with_its_certificate_and_not_without(
    name: str,
    tmp_path: Path,
    registry: DockerRegistry,
    gallery: Gallery,
    authority: Authority,
    section: str,
    certs: Path,
) -> None:
    nameless = certified(authority, tmp_path / "nameless", "")
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


@pytest.mark.parametrize("name", CLIENTS)
async def test_what_is_private_is_for_whom_a_rule_names_by_the_name_in_its_certificate(
    name: str,
    tmp_path: Path,
    registry: DockerRegistry,
    gallery: Gallery,
    authority: Authority,
    section: str,
    certs: Path,
    tokens: TokenServer,
) -> None:
    tokens.public = ("team/index",)
    rule = f'[[access]]\nallow = "puller"\nto = ["client"]\non = ["{REGISTRY}/team/docker"]\n'
    more = section.replace("required", "optional") + rule
    login = f'username = "me"\npassword = "{SECRET}"\n'
    async with (
        behind_tokens(tmp_path, registry, tokens) as upstream,
        Edgeproxy(tmp_path / "edge", {REGISTRY: upstream.url}, login=login, more=more) as proxy,
    ):
        mirror = f"https://127.0.0.1:{proxy.port}"
        others = {each: certified(authority, tmp_path / f"{each}.d", each) for each in ("", "other")}
        async with client(name, tmp_path / "c", mirror, REGISTRY, certs) as known:
            await known.pull(REGISTRY, "team/docker:1.0")
            assert await known.digest(REGISTRY, "team/docker:1.0") == gallery.docker.digest
        for number, other in enumerate(others.values()):
            async with client(name, tmp_path / str(number), mirror, REGISTRY, other) as unknown:
                await unknown.pull(REGISTRY, "team/index:1.0")
                with pytest.raises(CommandError):
                    await unknown.pull(REGISTRY, "team/docker:1.0")
        manifest = f"{mirror}/v2/team/docker/manifests/1.0"
        ca: list[str | Path] = ["--cacert", certs / "ca.crt"]
        for directory, status in ((certs, "200"), (others[""], "403"), (others["other"], "403")):
            shown = (directory / "client.cert").exists()
            own: list[str | Path] = ["--cert", directory / "client.cert", "--key", directory / "client.key"]
            assert (
                await run(
                    "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", *ca, *(own if shown else []), manifest
                )
                == status
            )
