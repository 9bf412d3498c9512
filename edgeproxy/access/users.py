"""The users of an htpasswd file: bcrypt, checked off the event loop."""

import asyncio
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path

import bcrypt

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import TooManyRequests

log = logging.getLogger(__name__)
_BCRYPT = re.compile(r"\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}")
_READ = 72
"""Bytes of a password that bcrypt looks at; `htpasswd` drops the others without a word."""
_NOBODYS = "$NvF3crzHKCqe7Y2mAhIxi.WDGMWkwxeHATvZrZ43MZbpwwt3QWhxO"
"""What the password of an unknown user is compared with, at the cost of the first user's: the time it takes does not
tell who is known."""
_MOST_OF_ONE, _MOST_OF_NOBODY = 4, 32
"""Passwords of one user that are checked at once, and of those whom nobody knows."""


class UsersInvalid(Exception):
    """A file holds something that is no user; the words say where, and repeat nothing of it."""


def read_users(file: Path) -> dict[str, str]:
    """The hashes by name. Raises `UsersInvalid` or OSError."""
    found = {}
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, password = line.strip().partition(":")
        if not name or not colon or not _BCRYPT.fullmatch(password):
            raise UsersInvalid(f"{file}:{number}: no user with a bcrypt hash: write it with 'htpasswd -B {file} NAME'")
        found[name] = password
    return found


class Users:
    """Read again when the file has changed; one that is wrong then changes nothing."""

    def __init__(self, file: Path, threads: Executor) -> None:
        """Raises `UsersInvalid` or OSError."""
        self._file = file
        self._threads = threads
        self._state = _state(file)
        self._hashes: Mapping[str, str] = read_users(file)
        self._checking: dict[Credentials, asyncio.Future[bool]] = {}
        self._pending: Counter[str] = Counter()
        """How many of them are of which user."""

    def __contains__(self, name: str) -> bool:
        return name in self._hashes

    def mark(self, name: str) -> str:
        """What changes with a user's password, and tells nothing of it; empty for an unknown user."""
        known = self._hashes.get(name)
        return hashlib.sha256(known.encode()).hexdigest()[:16] if known else ""

    async def check(self, credentials: Credentials) -> bool:
        """Whether the password is the user's. Raises `TooManyRequests` where too many are being checked."""
        work = self._checking.get(credentials) or self._begin(credentials)
        return await asyncio.shield(work) and credentials.username in self._hashes

    def _begin(self, credentials: Credentials) -> asyncio.Future[bool]:
        """Nobody's attempts keep a user waiting, but those with that user's name."""
        name = credentials.username if credentials.username in self._hashes else ""
        if self._pending[name] >= (_MOST_OF_ONE if name else _MOST_OF_NOBODY):
            raise TooManyRequests("too many logins are being checked: ask again", retry_after=1)
        known = self._hashes.get(name) or next(iter(self._hashes.values()), "$2b$10")[:6] + _NOBODYS
        work = asyncio.get_running_loop().run_in_executor(self._threads, _is_right, credentials.password, known)
        self._checking[credentials] = work
        self._pending[name] += 1

        def ended(_: object) -> None:
            del self._checking[credentials]
            self._pending[name] -= 1

        work.add_done_callback(ended)
        return work

    def refresh(self) -> bool:
        """Read the file if it has changed; whether other users are known now."""
        try:
            state = _state(self._file)
            if state == self._state:
                return False
            self._state = state
            hashes = read_users(self._file)
        except (UsersInvalid, OSError) as error:
            log.error("the users stay as they were: %s", error)
            return False
        changed, self._hashes = hashes != self._hashes, hashes
        return changed


def _is_right(password: str, known: str) -> bool:
    try:
        return bcrypt.checkpw(password.encode()[:_READ], known.encode())
    except ValueError:  # a password that bcrypt does not take is nobody's
        return False


def _state(file: Path) -> tuple[int, int, int]:
    found = os.stat(file)
    return found.st_mtime_ns, found.st_size, found.st_ino
