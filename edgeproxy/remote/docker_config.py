"""Logins as Docker keeps them: config.json (docs.docker.com/reference/cli/docker/login/#credential-stores)."""

import asyncio
import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import UpstreamUnauthorized
from edgeproxy.remote.logins import IDENTITY_TOKEN, Issued, Source
from edgeproxy.remote.programs import ask_helper

_HUB = ("index.docker.io", "docker.io", "registry-1.docker.io")
_HUBS_SERVER = "https://index.docker.io/v1/"
"""Under which Docker keeps the login of Docker Hub."""
_KEY = re.compile(r"(?:https?://)?([^/]+)(?:/(?:v[12]/?)?)?")
"""A registry as the keys name it; a longer path means a part of it."""


def docker_config(file: Path, host: str) -> Source:
    """`credHelpers`, else `credsStore`, and where those hold nothing `auths`; no login where none of them has one."""

    async def ask() -> Issued:
        try:
            document = json.loads(await asyncio.to_thread(file.read_bytes))
            helper = _of_host(document.get("credHelpers") or {}, host) or document.get("credsStore")
            entry = _of_host(document.get("auths") or {}, host)
            kept = Issued(_credentials(entry) if entry else None)
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise UpstreamUnauthorized(f"docker_config: {file} cannot be used: {_reason(error)}") from error
        return (helper and await ask_helper(str(helper), server_of(host))) or kept

    return ask


def server_of(host: str) -> str:
    """What credential helpers call a registry."""
    return _HUBS_SERVER if host in _HUB else host


def _of_host(entries: Mapping[str, Any], host: str) -> Any:
    names = (host, *_HUB) if host in _HUB else (host,)
    by_name = {found[1]: entry for key, entry in entries.items() if entry and (found := _KEY.fullmatch(key))}
    return next((by_name[name] for name in names if name in by_name), None)


def _credentials(entry: Mapping[str, Any]) -> Credentials:
    """Raises ValueError."""
    if entry.get("identitytoken"):
        return Credentials(IDENTITY_TOKEN, identity_token=str(entry["identitytoken"]))
    if entry.get("auth"):
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
        return Credentials(username, password.strip("\0"))
    return Credentials(str(entry.get("username", "")), str(entry.get("password", "")))


def _reason(error: Exception) -> str:
    """In words that hold nothing of what is written in the file."""
    match error:
        case OSError():
            return error.strerror or type(error).__name__
        case binascii.Error() | UnicodeDecodeError():
            return "an auth that is not the Base64 of name:password"
    return "it is not JSON as Docker writes it"
