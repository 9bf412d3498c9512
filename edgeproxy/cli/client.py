"""Questions to the daemon's admin listener."""

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import click

NOT_REACHED = 3
"""Exit code: nobody answers at the admin listener. 0 is fine, 1 went wrong or in part, 2 is wrong use."""
_PATIENCE = 30.0
_USUAL = "127.0.0.1:5001"
Command = TypeVar("Command", bound=Callable[..., Any])


class NotReached(click.ClickException):
    exit_code = NOT_REACHED


class Admin:
    """`url` may hold a login, as in https://root:secret@edge:5001."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._login = ""
        if parts.username is not None:
            login = f"{parts.username}:{parts.password or ''}".encode()
            self._login = f"Basic {base64.b64encode(login).decode()}"

    def ask(self, method: str, path: str, document: object = None) -> Any:
        """The JSON answered; `None` for none. Raises `NotReached`, or what the problem says (RFC 9457)."""
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(f"{self.url}{path}", body, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._login:
            request.add_header("Authorization", self._login)
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise click.ClickException(_said(error)) from error
        except (urllib.error.URLError, OSError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise NotReached(
                f"no daemon answers at {self.url}: {reason}; start it with edgeproxy serve, or name another by --admin"
            ) from error
        return json.loads(text) if text else None


def _said(error: urllib.error.HTTPError) -> str:
    try:
        told = str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        told = f"the daemon answers with status {error.code}"
    if error.code == 401:
        return f"{told}; give an operator's login: --admin https://NAME:PASSWORD@HOST:PORT"
    return told


def admin_option(command: Command) -> Command:
    """`--admin`; as the daemon itself reads it where nothing is said."""
    return click.option(
        "--admin",
        default=lambda: os.environ.get("EDGEPROXY_ADMIN", _USUAL),
        show_default=_USUAL,
        metavar="URL",
        help="The daemon's admin listener.",
    )(command)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print what the daemon answers, for programs.")(command)


def print_json(document: object) -> None:
    click.echo(json.dumps(document, indent=2))
