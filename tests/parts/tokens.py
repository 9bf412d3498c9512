"""A token server as distribution's registry trusts it (Docker token authentication), with an authority of its own."""

import asyncio
import base64
import json
import secrets
import time
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.parts.authorities import Certificates, openssl
from tests.parts.processes import free_port


class TokenServer:
    """`async with TokenServer(certificates, "me", "secret") as tokens:` — gives tokens to this login.

    And to anybody for what is `public`. The password is an identity token as well. `issued` counts, `last` is the last
    token; `life` is in seconds, `told` is what clients are told where that differs; all may be changed at any time.
    """

    def __init__(self, certificates: Certificates, username: str, password: str) -> None:
        self.username, self.password = username, password
        self.public: tuple[str, ...] = ()
        """Repositories."""
        self.life = 300
        self.told: int | None = None
        self.issued = 0
        self.last = ""
        self._certificates = certificates
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._runner: web.ServerRunner | None = None

    def configuration(self, realm: str) -> str:
        """For a registry whose clients reach this at `realm`."""
        bundle = self._certificates.authority
        says = f'realm: "{realm}", service: registry.test, issuer: tests, rootcertbundle: "{bundle}"'
        return f"auth: {{token: {{{says}}}}}\n"

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        form = await request.post()
        if request.method == "POST":
            known = (form["grant_type"], form["refresh_token"]) == ("refresh_token", self.password)
            scopes = str(form["scope"]).split()
        else:
            login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            given = request.headers.get("Authorization")
            known = given == f"Basic {login}"
            scopes = " ".join(request.query.getall("scope", [])).split()
            if given is None:
                known = bool(self.public)
                scopes = [scope for scope in scopes if scope.split(":")[1] in self.public]
        if not known:
            return web.json_response({"details": "who are you?"}, status=401)
        self.issued += 1
        self.last = await asyncio.to_thread(self._token, scopes)
        key = "access_token" if request.method == "POST" else "token"
        return web.json_response({key: self.last, "expires_in": self.told or self.life})

    def _token(self, scopes: list[str]) -> str:
        now = int(time.time())
        access = [_access(scope) for scope in scopes]
        chain = self._certificates.certificate.read_text()
        header = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(chain.splitlines()[1:-1])]}
        claims = {"iss": "tests", "sub": self.username, "aud": "registry.test", "access": access}
        times = {"exp": now + self.life, "nbf": now - 60, "iat": now, "jti": secrets.token_hex(8)}
        signed = f"{_encoded(header)}.{_encoded({**claims, **times})}"
        key = self._certificates.key
        signature = openssl("dgst", "-sha256", "-sign", key, inside=key.parent, said=signed.encode())
        return f"{signed}.{_base64(signature)}"


def _access(scope: str) -> dict[str, Any]:
    kind, name, actions = scope.split(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


def _encoded(document: dict[str, Any]) -> str:
    return _base64(json.dumps(document).encode())


def _base64(body: bytes) -> str:
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()
