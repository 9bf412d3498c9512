"""edgeproxy serve and check with a certificate."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from edgeproxy.oci.digest import Digest
from edgeproxy.oci.reference import Repository
from tests.api.wire import request
from tests.cli.running import Running, command
from tests.fakes.loopback import Loopback
from tests.fakes.shelf import Shelf
from tests.parts.authorities import Authority, Signed
from tests.parts.processes import CommandError, need, run, wait_until

BODY = bytes(range(256)) * 12_000
KEPT_BACK = 100_000
"""Less than a connection has in memory for its client."""
REGISTRY = '[registry."a.test"]\ndefault = true\n[[registry."a.test".upstream]]\nurl = "{url}"\n'


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    need("openssl", "curl")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Signed:
    return authority.signs("server", "IP:127.0.0.1")


def section(server: Signed, more: str = "") -> str:
    return f'[tls]\ncertificate = "{server.certificate}"\nkey = "{server.key}"\n{more}'


async def curl(daemon: Running, authority: Authority, *words: str | Path) -> str:
    url = f"https://127.0.0.1:{daemon.port}/v2/"
    return await run("curl", "-sS", "--cacert", authority.certificate, *words, url)


async def test_files_are_read_again_when_they_change_and_when_told(
    tmp_path: Path, authority: Authority, server: Signed
) -> None:
    renewed = Authority(tmp_path / "renewed")
    copy = Signed(tmp_path / "server.pem", tmp_path / "server.key")
    for file, original in zip(copy, server, strict=True):
        file.write_bytes(original.read_bytes())
    async with Running(tmp_path, section(copy)) as daemon:
        assert await curl(daemon, authority) == "{}"
        for file, original in zip(copy, renewed.signs("server", "IP:127.0.0.1"), strict=True):
            file.write_bytes(original.read_bytes())
        await wait_until(lambda: "certificates read again" in daemon.log.read_text(), "the files are read", 20)
        assert await curl(daemon, renewed) == "{}"

        mtls = f'client_ca = "{authority.certificate}"\nmtls = "required"\n'
        await daemon.reload(section(server, mtls), "configuration read again")
        with pytest.raises(CommandError, match="certificate required"):
            await curl(daemon, authority)
        client = authority.signs("client", "DNS:client.test")
        assert await curl(daemon, authority, "--cert", client.certificate, "--key", client.key) == "{}"

        await daemon.reload(section(Signed(tmp_path / "absent", server.key)), "the configuration stays as it was: ")
        assert await curl(daemon, authority, "--cert", client.certificate, "--key", client.key) == "{}"


class Slow:
    """A client of a blob that has nothing in memory; blocking, for a thread."""

    def __init__(self, port: int, authority: Authority) -> None:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(30)
        plain.connect(("127.0.0.1", port))
        context = ssl.create_default_context(cafile=str(authority.certificate))
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.socket.sendall(request(f"/v2/team/app/blobs/{Digest.of(BODY)}", "Connection: close"))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 200"), head

    def read(self, size: int) -> bytes:
        """So many bytes, if there are."""
        found = b""
        while len(found) < size and (piece := self.socket.recv(min(4096, size - len(found)))):
            found += piece
        return found


async def test_a_slow_client_gets_what_lies_in_memory_before_the_daemon_ends(
    tmp_path: Path, authority: Authority, server: Signed
) -> None:
    shelf = Shelf()
    shelf.blob(Repository("a.test", "team/app"), BODY)
    async with (
        Loopback(shelf, "a.test").listening() as url,
        Running(tmp_path, REGISTRY.format(url=url) + section(server)) as daemon,
    ):
        slow = await asyncio.to_thread(Slow, daemon.port, authority)
        with slow.socket:
            stopping = asyncio.create_task(daemon.process.stop())
            await wait_until(lambda: "stopping: " in daemon.log.read_text(), "the daemon is to stop", 10)
            assert await asyncio.to_thread(slow.read, len(BODY) - KEPT_BACK) == BODY[:-KEPT_BACK]
            done, _ = await asyncio.wait([stopping], timeout=1)
            assert not done, "it has left with what the client has not taken"
            assert await asyncio.to_thread(slow.read, KEPT_BACK + 1) == BODY[-KEPT_BACK:]
        assert await stopping == 0


async def test_check_warns_of_a_certificate_that_has_expired(tmp_path: Path, authority: Authority) -> None:
    expired = authority.signs("expired", "IP:127.0.0.1", days=-1)
    file = tmp_path / "edgeproxy.toml"
    file.write_text(section(expired))
    ended = await command("check", "-c", file)
    assert ended.code == 0
    said = f"warning: tls.certificate: clients will not believe {expired.certificate}: certificate has expired\n"
    assert ended.words == said
    async with Running(tmp_path, section(expired)) as daemon:
        assert daemon.log.read_text().count("certificate has expired") == 1


@pytest.mark.parametrize("verb", ["check", "serve"])
async def test_a_certificate_that_cannot_be_used_ends_with_2(tmp_path: Path, server: Signed, verb: str) -> None:
    file = tmp_path / "edgeproxy.toml"
    file.write_text(section(Signed(tmp_path / "absent.pem", server.key)))
    ended = await command(verb, "-c", file)
    assert (ended.code, ended.out) == (2, "")
    assert f"tls.certificate: {tmp_path / 'absent.pem'} cannot be used: No such file" in ended.words
    assert "name a PEM file" in ended.words
