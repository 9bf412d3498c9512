"""Logins that operators gave to the daemon itself, in a file as Docker writes it."""

import base64
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproxy.oci.credentials import Credentials
from edgeproxy.remote.docker_config import docker_config
from edgeproxy.remote.logins import Source

log = logging.getLogger(__name__)


class StoredLogins:
    """By host, as in `registry-1.docker.io`. The file is its owner's alone."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def names(self) -> dict[str, str]:
        """By host, the user's name."""
        return {host: _name(entry) for host, entry in self._entries().items()}

    def source(self, host: str) -> Source | None:
        """Where its login comes from, if it has one here."""
        return docker_config(self._file, host) if host in self._entries() else None

    def put(self, host: str, credentials: Credentials) -> None:
        """Raises OSError."""
        self._write({**self._entries(), host: {"auth": credentials.basic().partition(" ")[2]}})

    def drop(self, host: str) -> bool:
        """Whether there was one. Raises OSError."""
        entries = self._entries()
        if host not in entries:
            return False
        self._write({name: entry for name, entry in entries.items() if name != host})
        return True

    def _entries(self) -> Mapping[str, Any]:
        try:
            entries = json.loads(self._file.read_bytes())["auths"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.error("%s cannot be read: %s; log in again", self._file, type(error).__name__)
            return {}
        return entries if isinstance(entries, dict) else {}

    def _write(self, entries: Mapping[str, Any]) -> None:
        aside = self._file.with_name(f".{self._file.name}.new")
        aside.unlink(missing_ok=True)
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            json.dump({"auths": entries}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self._file)


def _name(entry: Any) -> str:
    try:
        return base64.b64decode(entry["auth"], validate=True).decode().partition(":")[0]
    except (ValueError, KeyError, TypeError):
        return ""
