"""Where the credentials of an upstream come from, and how they are kept fresh.

Sources are asked when a login is first wanted, ahead of the end of what they gave, and once more when upstream refuses
it. Nothing here writes a secret anywhere.
"""

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from edgeproxy.oci.errors import Refusal, UpstreamUnauthorized

log = logging.getLogger(__name__)
_PATIENCE = 30.0
_LARGEST = 1024 * 1024
_HELPERS_LIFE = 900.0
"""Seconds for which the answer of a credential helper is used: they do not say how long it holds."""
_AHEAD = 0.8
"""The part of a life after which it is renewed."""
_AT_MOST_EVERY = 10.0
"""Seconds between two renewals because of a refusal: some content is simply not for us."""
_IDENTITY_TOKEN = "<token>"
"""The user name by which helpers say that the secret is an identity token (docker-credential-helpers)."""
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password, or an identity token in the place of both (OAuth 2 refresh token)."""

    username: str
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """RFC 7617."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Issued:
    """What a source gave; seconds for which it may be used, `None` for as long as nobody objects."""

    credentials: Credentials | None
    life: float | None = None


Source = Callable[[], Awaitable[Issued]]


class Login:
    """The login of one upstream; its source is asked once, however many wait for it."""

    def __init__(self, source: Source, now: Callable[[], float] = monotonic) -> None:
        self._source = source
        self._now = now
        self._issued: Issued | None = None
        self._ends = self._renew_at = float("inf")
        self._renewed = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def credentials(self) -> Credentials | None:
        """Raises `UpstreamUnauthorized` where the source has none to give and those of before have ended."""
        if self._issued is None or self._now() >= self._renew_at:
            try:
                await self._ask()
            except Refusal as refusal:
                if self._issued is None or self._now() >= self._ends:
                    raise
                log.warning("a login is not renewed, and used for as long as it holds: %s", refusal.message)
        return self._issued.credentials if self._issued else None

    async def renew(self) -> bool:
        """Ask the source again, because upstream refuses what it gave; False where that was done a moment ago."""
        if self._now() - self._renewed < _AT_MOST_EVERY:
            return False
        self._renewed = self._now()
        await self._ask()
        return self._issued is not None and self._issued.credentials is not None

    async def _ask(self) -> None:
        if self._asking is None:
            self._asking = asyncio.create_task(self._take(), name="login")
            self._asking.add_done_callback(self._asked)
        await asyncio.shield(self._asking)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # whoever waits has it

    async def _take(self) -> None:
        began = self._now()
        issued = await self._source()
        life = float("inf") if issued.life is None else issued.life
        self._issued, self._ends, self._renew_at = issued, began + life, began + _AHEAD * life


def given(username: str, password: Callable[[], str]) -> Source:
    """A name, and a password that is read again each time: a file with a rotated secret works without a restart."""

    async def ask() -> Issued:
        try:
            return Issued(Credentials(username, password()))
        except Exception as error:
            raise UpstreamUnauthorized(f"the password of {username} cannot be read: {error}") from error

    return ask


def docker_config(file: Path, host: str) -> Source:
    """Docker's config.json: `credHelpers`, `credsStore` and `auths`, in Docker's order."""

    async def ask() -> Issued:
        try:
            document = json.loads(await asyncio.to_thread(file.read_text))
            keys = [host, f"https://{host}", *(_HUB_KEYS if host in _HUB_KEYS else ())]
            helpers = document.get("credHelpers") or {}
            helper = next((helpers[key] for key in keys if key in helpers), None)
            auths = document.get("auths") or {}
            found = next((auths[key] for key in keys if auths.get(key)), None)
            store = helper or (None if found else document.get("credsStore"))
            if store:
                return await credential_helper(store, keys[-1] if host in _HUB_KEYS and not helper else host)()
            return Issued(_of_entry(found) if found else None)
        except (OSError, ValueError, AttributeError, TypeError, binascii.Error) as error:
            raise UpstreamUnauthorized(f"{file} is no docker configuration to log in with: {error}") from error

    return ask


def _of_entry(entry: dict[str, Any]) -> Credentials:
    if entry.get("identitytoken"):
        return Credentials(_IDENTITY_TOKEN, identity_token=str(entry["identitytoken"]))
    if entry.get("auth"):
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        return Credentials(username, password.strip("\0"))
    return Credentials(str(entry.get("username", "")), str(entry.get("password", "")))


def credential_helper(name: str, server: str) -> Source:
    """`docker-credential-<name> get` (docker-credential-helpers): the server's name in, JSON out."""

    async def ask() -> Issued:
        program = f"docker-credential-{name}"
        document = await _run([program, "get"], server.encode())
        username, secret = str(document.get("Username", "")), str(document.get("Secret", ""))
        if not secret:
            raise UpstreamUnauthorized(f"{program} has no login for {server}")
        if username == _IDENTITY_TOKEN:
            return Issued(Credentials(username, identity_token=secret), _HELPERS_LIFE)
        return Issued(Credentials(username, secret), _HELPERS_LIFE)

    return ask


def command(words: Sequence[str]) -> Source:
    """A program that prints `{"username", "password"}`, with `expires_in` (seconds) or `expires_at` (RFC 3339)."""

    async def ask() -> Issued:
        document = await _run(words, b"")
        if not document.get("password"):
            raise UpstreamUnauthorized(f"{words[0]} prints no password: it is to print JSON with username and password")
        credentials = Credentials(str(document.get("username", "")), str(document["password"]))
        return Issued(credentials, _life(document, words[0]))

    return ask


def _life(document: dict[str, Any], program: str) -> float | None:
    try:
        if document.get("expires_in") is not None:
            return max(0.0, float(document["expires_in"]))
        if document.get("expires_at"):
            until = datetime.fromisoformat(str(document["expires_at"]))
            return max(0.0, (until - datetime.now(until.tzinfo)).total_seconds())
    except (ValueError, TypeError) as error:
        raise UpstreamUnauthorized(f"{program} prints no time that can be read: {error}") from error
    return None


async def _run(words: Sequence[str], said: bytes) -> dict[str, Any]:
    """The JSON that a program prints. What it prints may be a secret, and is shown nowhere."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError as error:
        raise UpstreamUnauthorized(
            f"{words[0]} cannot be run: {error.strerror}; install it, or correct its name"
        ) from error
    try:
        async with asyncio.timeout(_PATIENCE):
            printed, _ = await process.communicate(said)
    except TimeoutError as error:
        raise UpstreamUnauthorized(f"{words[0]} does not end within {_PATIENCE:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise UpstreamUnauthorized(f"{words[0]} fails with exit code {process.returncode}: run it by hand to see why")
    try:
        document = json.loads(printed[:_LARGEST])
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise UpstreamUnauthorized(f"{words[0]} prints no JSON object")
    return document
