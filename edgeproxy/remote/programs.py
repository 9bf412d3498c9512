"""Programs that know logins: Docker's credential helpers, and commands that print one.

What they print may be a secret: it is shown nowhere, and neither is what they say on stderr.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import UpstreamUnauthorized
from edgeproxy.remote.logins import IDENTITY_TOKEN, Issued, Source

_PATIENCE = 20.0
"""Seconds for a program to end; a client that waits for it is answered after 25."""
_LARGEST = 64 * 1024
"""Bytes that a program may print."""
_HELPERS_LIFE = 900.0
"""Seconds for which the answer of a credential helper is used: they do not say how long it holds."""
_NOT_FOUND = b"credentials not found in native keychain"
"""What helpers say with exit code 1 where they hold nothing for a server (docker-credential-helpers)."""


def credential_helper(name: str, server: str, patience: float = _PATIENCE) -> Source:
    """`docker-credential-<name>`, which has to hold a login for this server."""

    async def ask() -> Issued:
        issued = await ask_helper(name, server, patience)
        if issued is None:
            raise UpstreamUnauthorized(f"docker-credential-{name} has no login for {server}: store one in it")
        return issued

    return ask


async def ask_helper(name: str, server: str, patience: float = _PATIENCE) -> Issued | None:
    """`docker-credential-<name> get` (docker-credential-helpers): the server in, JSON out; None where it holds nothing.

    Raises `UpstreamUnauthorized`.
    """
    program = f"docker-credential-{name}"
    code, printed = await _run([program, "get"], server.encode(), patience)
    if code and printed.strip() == _NOT_FOUND:
        return None
    document = _document(program, code, printed)
    username, secret = str(document.get("Username", "")), str(document.get("Secret", ""))
    if not secret:
        return None
    if username == IDENTITY_TOKEN:
        return Issued(Credentials(username, identity_token=secret), _HELPERS_LIFE)
    return Issued(Credentials(username, secret), _HELPERS_LIFE)


def command(words: Sequence[str], patience: float = _PATIENCE) -> Source:
    """A program that prints `{"username", "password"}`, with `expires_in` (seconds) or `expires_at` (RFC 3339)."""

    async def ask() -> Issued:
        code, printed = await _run(words, b"", patience)
        return read_login(words[0], code, printed, datetime.now(UTC))

    return ask


def read_login(program: str, code: int, printed: bytes, now: datetime) -> Issued:
    """What a command printed at a time. Raises `UpstreamUnauthorized`, which tells nothing of what it printed."""
    document = _document(program, code, printed)
    if not document.get("password"):
        raise UpstreamUnauthorized(f"{program} prints no password: it is to print JSON with username and password")
    try:
        life = _life(document, now)
    except (ValueError, TypeError, OverflowError):
        raise UpstreamUnauthorized(
            f"{program} prints no time that can be read: expires_in is a number of seconds, "
            'expires_at is written as in "2030-01-31T12:00:00Z"'
        ) from None
    return Issued(Credentials(str(document.get("username", "")), str(document["password"])), life)


def _life(document: dict[str, Any], now: datetime) -> float | None:
    if document.get("expires_in") is not None:
        return max(0.0, float(document["expires_in"]))
    if document.get("expires_at"):
        return max(0.0, (datetime.fromisoformat(str(document["expires_at"])) - now).total_seconds())
    return None


def _document(program: str, code: int, printed: bytes) -> dict[str, Any]:
    if code:
        raise UpstreamUnauthorized(f"{program} fails with exit code {code}: run it by hand to see why")
    try:
        document = json.loads(printed)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise UpstreamUnauthorized(f"{program} prints no JSON object: run it by hand to see what it prints")
    return document


class _Printing(asyncio.SubprocessProtocol):
    """What a program prints. `ended` comes when it has gone and nobody can print any more, or with too much."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.printed = bytearray()
        self.ended = loop.create_future()
        self.exited = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.printed += data
        if len(self.printed) > _LARGEST:
            self.connection_lost(None)

    def process_exited(self) -> None:
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def _run(words: Sequence[str], said: bytes, patience: float) -> tuple[int, bytes]:
    """Its exit code, and what it printed. Whatever it has started in its session ends with it."""
    pipe = asyncio.subprocess.PIPE
    try:
        transport, printing = await asyncio.get_running_loop().subprocess_exec(
            _Printing, *words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such program"
        raise UpstreamUnauthorized(f"{words[0]} cannot be run: {reason}; install it, or correct its name") from error
    try:
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        stdin.write(said)
        stdin.write_eof()
        async with asyncio.timeout(patience):
            await printing.ended
    except TimeoutError as error:
        raise UpstreamUnauthorized(
            f"{words[0]} does not end within {patience:g} s: run it by hand to see why"
        ) from error
    finally:
        await _end(transport, printing)
    if len(printing.printed) > _LARGEST:
        raise UpstreamUnauthorized(f"{words[0]} prints more than {_LARGEST} bytes: it is to print one JSON object")
    return transport.get_returncode() or 0, bytes(printing.printed)


async def _end(transport: asyncio.SubprocessTransport, printing: _Printing) -> None:
    if transport.get_returncode() is None or len(printing.printed) > _LARGEST or not printing.ended.done():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
    transport.close()
    await printing.exited
