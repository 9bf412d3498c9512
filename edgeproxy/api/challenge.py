"""What is told to somebody who has to log in (RFC 9110, section 11.6.1; Docker token authentication).

Only who may not be answered otherwise is challenged: docker bypasses a mirror that wants a login, without a word.
"""

import re
from collections.abc import Collection

from edgeproxy.api.address import TOKEN_PATH
from edgeproxy.api.fields import Fields
from edgeproxy.oci.reference import Repository

_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")


class Challenges:
    """The ways to log in here; none of them where it is not `logins`."""

    def __init__(
        self,
        *,
        logins: bool = False,
        secure: bool = False,
        realm: str = "",
        service: str = "",
        basic: bool = False,
        hosts: Collection[str] = (),
        default: str = "",
    ) -> None:
        """`realm`: where tokens are given; our own `/token`, under the name the client uses, where it is empty.

        `service`: what tokens are for, the registry in question where it is empty, which is `default` where none is.
        `basic`: names and passwords are taken beside. `hosts`: under these names `/v2/` wants a login.
        """
        self.logins = logins
        self._scheme = "https" if secure else "http"
        self._realm = realm
        self._service = service
        self._basic = basic
        self._hosts = frozenset(host.lower() for host in hosts)
        self._default = default

    def guards(self, host: str) -> bool:
        """Whether nobody gets past `/v2/` under this name without a login: `docker login` needs that."""
        return host.lower() in self._hosts or host.lower().rpartition(":")[0] in self._hosts

    def fields(self, host: str, repository: Repository | None = None, actions: str = "pull") -> Fields:
        """`WWW-Authenticate`; `host` as the client wrote it, `actions` as in a scope: `pull`, `pull,push`."""
        if not self.logins or not (self._realm or _HOST.fullmatch(host)):
            return ()
        service = self._service or (repository.registry if repository else self._default)
        says = f'Bearer realm="{self._realm or f"{self._scheme}://{host}{TOKEN_PATH}"}",service="{service}"'
        if repository is not None:
            says += f',scope="repository:{repository}:{actions}"'
        found = [("WWW-Authenticate", says)]
        if self._basic:
            found.append(("WWW-Authenticate", 'Basic realm="edgeproxy", charset="UTF-8"'))
        return tuple(found)
