"""The pull and push API (OCI distribution-spec), as the command line speaks it to the daemon."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import click

from edgeproxy.cli.client import NotReached
from edgeproxy.oci.manifest import ACCEPTED

_PATIENCE = 300.0


class Registry:
    """`url` may hold a login, as in https://ci:secret@edge:5000."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        self.url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], "", "", ""))
        self._fields = {"Accept": ", ".join(ACCEPTED)}
        if parts.username is not None:
            login = f"{parts.username}:{parts.password or ''}".encode()
            self._fields["Authorization"] = f"Basic {base64.b64encode(login).decode()}"

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        fields: Mapping[str, str] | None = None,
        missing: bool = False,
    ) -> HTTPResponse | None:
        """The answer, to be closed; `None` for 404 where that may be (`missing`). Raises `click.ClickException`."""
        url = target if "://" in target else f"{self.url}{target}"
        request = urllib.request.Request(url, body, {**self._fields, **(fields or {})}, method=method)
        try:
            answer: HTTPResponse = urllib.request.urlopen(request, timeout=_PATIENCE)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and missing:
                    return None
                raise click.ClickException(_said(error)) from error
        except (urllib.error.URLError, OSError) as error:
            raise NotReached(f"no daemon answers at {self.url}: {error}; name another by --url") from error
        return answer

    def have(self, method: str, target: str, **more: Any) -> HTTPResponse:
        """As `ask`, where it has to be there."""
        answer = self.ask(method, target, **more)
        assert answer is not None
        return answer


def _said(error: urllib.error.HTTPError) -> str:
    try:
        told = "; ".join(str(each["message"]) for each in json.loads(error.read())["errors"])
    except (ValueError, KeyError, TypeError):
        told = f"the daemon answers with status {error.code}"
    return f"{told}; give a login: --url https://NAME:PASSWORD@HOST:PORT" if error.code == 401 else told
