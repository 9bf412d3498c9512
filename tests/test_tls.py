"""TLS on a listener, with real certificates: what is shown, who is let in, and what those hear who are not."""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeproxy.access.certificates import presented
from edgeproxy.remote.transport import CertificateInvalid
from edgeproxy.tls import Certificates, Encryption, doubt, server_context
from tests.api.wire import request, responses
from tests.parts.authorities import Authority, Signed
from tests.parts.processes import CommandError, need, run

LEGACY = "DEFAULT@SECLEVEL=0"
"""Ciphers with which openssl is willing to speak TLS 1.1 at all."""


class Parties(NamedTuple):
    """An authority and another, each with a server and a client."""

    authority: Authority
    server: Signed
    client: Signed
    other: Authority
    other_server: Signed
    other_client: Signed


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    need("openssl")
    found: list[Authority | Signed] = []
    for name in ("first", "second"):
        authority = Authority(tmp_path_factory.mktemp(name))
        found += [authority, authority.signs("server", "IP:127.0.0.1"), authority.signs("client", "DNS:client.test")]
    return Parties(*found)  # type: ignore[arg-type]


@pytest.fixture
def mutual(parties: Parties, tmp_path: Path) -> Encryption:
    """Copies of the first authority's files, which a test may change."""
    files = {"server.pem": parties.server.certificate, "server.key": parties.server.key}
    for name, file in {**files, "ca.pem": parties.authority.certificate}.items():
        (tmp_path / name).write_bytes(file.read_bytes())
    return Encryption(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem", "required")


@asynccontextmanager
async def listening(certificates: Certificates) -> AsyncIterator[int]:
    """A listener that tells whoever says a line who that is."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = presented(writer.get_extra_info("peercert") or {}, "subject")
        while await reader.readline():
            writer.write(f"you are {name}\n".encode())
        writer.close()

    server = await asyncio.start_server(tell, "127.0.0.1", 0, ssl=certificates.context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def trusting(authority: Authority, shown: Signed | None = None, **settings: object) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if shown is not None:
        context.load_cert_chain(*shown)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


class Client:
    """One connection that is answered; blocking, for a thread."""

    def __init__(self, port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket = context.wrap_socket(connection, server_hostname="127.0.0.1", session=session)
        try:
            self.name = self.asks()
        except BaseException:
            self.socket.close()
            raise

    def asks(self) -> str:
        """Who it is."""
        self.socket.sendall(b"hello\n")
        said = self.socket.recv(100).decode()
        assert said.startswith("you are ")
        return said.removeprefix("you are ").removesuffix("\n")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


async def connect(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Client:
    return await asyncio.to_thread(Client, port, context, session)


async def refused(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> str:
    """OpenSSL's reason, which the server has told in an alert or the client has found."""
    with pytest.raises(ssl.SSLError) as caught:
        await connect(port, context, session)
    return caught.value.reason


# files


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (("none.pem", "", ""), "certificate: .*none.pem cannot be used: No such file or directory; name a PEM file"),
        (("server.pem", "none.key", ""), "key: .*none.key cannot be used: No such file .*; name a PEM file with a key"),
        (
            ("server.pem", "", ""),
            "certificate: .*server.pem cannot be used: .*; name .* with a certificate and its key",
        ),
        (("server.pem", "client.key", ""), "certificate: .*server.pem cannot be used: KEY_VALUES_MISMATCH; name a PEM"),
        (("server.pem", "server.key", "none.pem"), "client_ca: .*none.pem cannot be used: No such file"),
        (("server.pem", "server.key", "ca.key"), "client_ca: .*ca.key cannot be used: .*; name .* with certificates"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_key(parties: Parties, files: tuple[str, str, str], told: str) -> None:
    certificate, key, client_ca = (parties.server.certificate.parent / name if name else None for name in files)
    assert certificate is not None
    with pytest.raises(CertificateInvalid, match=told):
        server_context(Encryption(certificate, key, client_ca, "required" if client_ca else "off"))


async def test_a_key_may_be_in_the_file_of_its_certificate(parties: Parties, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(parties.server.key.read_bytes() + parties.server.certificate.read_bytes())
    async with listening(Certificates(Encryption(both))) as port:
        (await connect(port, trusting(parties.authority))).socket.close()


@pytest.mark.parametrize(("days", "words"), [(2, ""), (-1, "certificate has expired")])
def test_a_certificate_that_nobody_will_believe_is_doubted(
    parties: Parties, caplog: pytest.LogCaptureFixture, days: int, words: str
) -> None:
    signed = parties.authority.signs(f"lasting{days}", "IP:127.0.0.1", days=days)
    encryption = Encryption(signed.certificate, signed.key, parties.authority.certificate, "required")
    assert doubt(encryption) == words
    with caplog.at_level(logging.WARNING):
        Certificates(encryption)
    assert [words in record.message for record in caplog.records] == ([True] if words else [])


# who is let in


async def test_a_client_shows_a_certificate_where_it_has_to(parties: Parties, mutual: Encryption) -> None:
    """An alert says why: a mere end would tell nobody what to do."""
    ours, unknown = trusting(parties.authority, parties.client), trusting(parties.authority, parties.other_client)
    nameless = trusting(parties.authority)
    async with listening(Certificates(mutual)) as port:
        with await connect(port, ours) as client:
            assert client.name == "client"
        assert await refused(port, nameless) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        assert await refused(port, unknown) == "TLSV1_ALERT_UNKNOWN_CA"
    async with listening(Certificates(replace(mutual, mtls="optional"))) as port:
        (await connect(port, ours)).socket.close()
        (await connect(port, nameless)).socket.close()
        assert await refused(port, unknown) == "TLSV1_ALERT_UNKNOWN_CA"
    async with listening(Certificates(Encryption(mutual.certificate, mutual.key))) as port:
        (await connect(port, unknown)).socket.close()


async def test_what_is_older_than_tls_1_2_is_refused(parties: Parties, mutual: Encryption) -> None:
    async with listening(Certificates(Encryption(mutual.certificate, mutual.key))) as port:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with await connect(port, trusting(parties.authority, maximum_version=version)) as client:
                assert client.socket.version() == version.name.replace("_", ".")
        with pytest.raises(CommandError, match="alert protocol version"):
            await run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_1", "-cipher", LEGACY)


async def test_a_handshake_that_fails_leaves_one_line_for_who_wants_to_know(
    parties: Parties, mutual: Encryption, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    caplog.set_level(logging.DEBUG)
    async with listening(Certificates(mutual)) as port:
        await refused(port, trusting(parties.authority))
        for said in (b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\x05hello", bytes(1000)):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            await writer.drain()
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
    found = [record for record in caplog.records if record.name != "asyncio"]
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert [record.message.partition(":")[0] for record in found] == ["a handshake failed"] * 3
    assert asyncio.all_tasks() == before


async def test_plain_http_is_told_what_to_speak(mutual: Encryption) -> None:
    async with listening(Certificates(mutual)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/v2/"))
        said = await asyncio.wait_for(reader.readuntil(b"}]}"), 5)
        writer.close()
        curl = await run("curl", "-s", f"http://127.0.0.1:{port}/v2/", "-w", "%{http_code}")
    (answer,) = await responses(said)
    assert (answer.status, answer.code, answer.fields["connection"]) == (400, "UNSUPPORTED", "close")
    assert b"write https://" in answer.body
    assert curl == answer.body.decode() + "400"


# files that change


async def test_a_renewed_certificate_is_shown(parties: Parties, mutual: Encryption) -> None:
    """To those who come; who is there stays."""
    old = trusting(parties.authority)
    new = trusting(parties.other)
    certificates = Certificates(replace(mutual, mtls="off"))
    async with listening(certificates) as port:
        with await connect(port, old) as client:
            assert await refused(port, new) == "CERTIFICATE_VERIFY_FAILED"
            mutual.certificate.write_bytes(parties.other_server.certificate.read_bytes())
            assert mutual.key is not None
            mutual.key.write_bytes(parties.other_server.key.read_bytes())
            await certificates.step()
            (await connect(port, new)).socket.close()
            assert await refused(port, old) == "CERTIFICATE_VERIFY_FAILED"
            await asyncio.to_thread(client.asks)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("tickets", [True, False])
async def test_who_is_of_a_removed_authority_is_let_in_no_more(
    parties: Parties, mutual: Encryption, version: ssl.TLSVersion, tickets: bool
) -> None:
    """Not as somebody who was let in before either: a session is resumed without a look at the certificate."""
    settings: dict[str, object] = {"maximum_version": version}
    ours = trusting(parties.authority, parties.client, **settings)
    if not tickets:
        ours.options |= ssl.OP_NO_TICKET
    others = trusting(parties.authority, parties.other_client, **settings)
    certificates = Certificates(mutual)
    assert mutual.client_ca is not None
    async with listening(certificates) as port:
        with await connect(port, ours) as first:
            with await connect(port, ours, first.socket.session) as again:
                assert (again.socket.session_reused, again.name) == (True, "client")
            assert "UNKNOWN_CA" in await refused(port, others)
            mutual.client_ca.write_bytes(parties.other.certificate.read_bytes())
            await certificates.step()
            assert "UNKNOWN_CA" in await refused(port, ours, first.socket.session)
            assert "UNKNOWN_CA" in await refused(port, ours)
            (await connect(port, others)).socket.close()
            await asyncio.to_thread(first.asks)


async def test_a_broken_file_changes_nothing_and_is_told_once(
    parties: Parties, mutual: Encryption, caplog: pytest.LogCaptureFixture
) -> None:
    ours = trusting(parties.authority, parties.client)
    certificates = Certificates(mutual)
    async with listening(certificates) as port:
        for break_it in (lambda: mutual.certificate.write_text("no PEM"), mutual.certificate.unlink):
            caplog.clear()
            break_it()
            for _ in range(3):
                await certificates.step()
            (told,) = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
            assert told.startswith(f"the certificates stay as they were: certificate: {mutual.certificate} cannot be")
            (await connect(port, ours)).socket.close()
        mutual.certificate.write_bytes(parties.server.certificate.read_bytes())
        caplog.clear()
        with caplog.at_level(logging.INFO):
            await certificates.step()
            await certificates.step()
        assert [record.message for record in caplog.records] == ["certificates read again"]
        (await connect(port, ours)).socket.close()


async def test_a_link_that_leads_elsewhere_is_a_change(parties: Parties, tmp_path: Path) -> None:
    """As Kubernetes mounts secrets; the file behind may be just as large, and just as old."""
    for number, signed in enumerate((parties.server, parties.other_server)):
        there = tmp_path / str(number)
        there.mkdir()
        (there / "tls.pem").write_bytes(signed.key.read_bytes() + signed.certificate.read_bytes())
        os.utime(there / "tls.pem", (0, 0))
    link = tmp_path / "link"
    link.symlink_to("0")
    certificates = Certificates(Encryption(link / "tls.pem"))
    async with listening(certificates) as port:
        (await connect(port, trusting(parties.authority))).socket.close()
        (tmp_path / "new").symlink_to("1")
        (tmp_path / "new").replace(link)
        await certificates.step()
        (await connect(port, trusting(parties.other))).socket.close()


async def test_other_terms_hold_for_who_comes(parties: Parties, mutual: Encryption) -> None:
    certificates = Certificates(mutual)
    async with listening(certificates) as port:
        await refused(port, trusting(parties.authority))
        certificates.renew(replace(mutual, client_ca=None, mtls="off"))
        (await connect(port, trusting(parties.authority))).socket.close()
