"""Sections of the configuration that say who may what, and how clients reach us."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, PositiveInt, field_validator, model_validator

from edgeproxy.access.certificates import By
from edgeproxy.access.identity import Role
from edgeproxy.access.limits import Clients
from edgeproxy.access.roles import Binding, Subjects
from edgeproxy.tls import Encryption, Mtls
from edgeproxy.units import Duration, Network, Size

RoleName = Literal["puller", "pusher", "replicator", "operator"]


class ConfigError(Exception):
    """What is wrong with a configuration, where, and what to write instead."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccessConfig(Section):
    allow: RoleName | None = None
    deny: RoleName | None = None
    to: tuple[str, ...] = ("*",)
    on: tuple[str, ...] = ("*",)

    @model_validator(mode="after")
    def _check_effect(self) -> Self:
        if (self.allow is None) == (self.deny is None):
            raise ValueError('a rule either allows or denies: write allow = "puller" or deny = "puller"')
        if self.allow not in (None, "puller") and "to" not in self.model_fields_set:
            raise ValueError(f'allow = "{self.allow}" without to: say to whom, as in to = ["alice", "group:ci"]')
        return self

    @property
    def is_about_names(self) -> bool:
        """Whether it takes a login to be meant."""
        return bool(set(self.to) - {"*", "anonymous"})

    def binding(self) -> Binding:
        role = Role[(self.allow or self.deny or "").upper()]
        return Binding(role, Subjects.parse(self.to), self.on, deny=self.deny is not None)


class TokenConfig(Section):
    keys: Path | None = None
    certificates: Path | None = None
    issuer: str = ""
    service: str = ""
    realm: str = ""

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if not self.model_fields_set:
            return self
        if not self.is_given:
            raise ValueError("how tokens are verified is not said: name their keys, or certificates")
        for key in ("issuer", "service", "realm"):
            if not getattr(self, key):
                raise ValueError(
                    f"{key} is missing: tokens are believed only if it is known who gave them, and for whom"
                )
        return self

    @property
    def is_given(self) -> bool:
        return self.keys is not None or self.certificates is not None


class TlsConfig(Section):
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    mtls: Mtls = "off"
    identity: By = "subject"

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        if self.certificate is None and (self.key or self.client_ca or self.mtls != "off"):
            raise ValueError("there is no TLS without certificate: name it, too")
        if (self.client_ca is None) != (self.mtls == "off"):
            raise ValueError('mtls = "optional" or "required" and client_ca need each other: write both, or neither')
        return self

    def encryption(self) -> Encryption | None:
        if self.certificate is None:
            return None
        return Encryption(self.certificate, self.key, self.client_ca, self.mtls)


class LimitsConfig(Section):
    request_line: Size = 8 * 2**10
    header: Size = 32 * 2**10
    header_time: Duration = 10.0
    idle: Duration = 120.0
    stalled: Duration = 300.0
    connections: PositiveInt = 10_000
    connections_per_address: PositiveInt = 1000
    requests_per_address: PositiveInt = 2000
    exempt: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    flights: PositiveInt = 256
    uploads: PositiveInt = 1000
    upload_age: Duration = 86400.0
    upload_size: Size = 100 * 10**9

    @model_validator(mode="after")
    def _check_header(self) -> Self:
        if not 0 < self.request_line < self.header:
            raise ValueError("request_line is a part of header: write a size above 0, and a larger one for header")
        return self

    def clients(self, files: int, now: float) -> Clients:
        """`files`: descriptors that the process may have; a client takes up to two."""
        connections = min(self.connections, files // 2)
        return Clients(connections, self.connections_per_address, self.requests_per_address, self.exempt, now)


class AuthConfig(Section):
    htpasswd: Path | None = None
    groups: dict[str, tuple[str, ...]] = {}
    pass_through: bool = False
    challenge: tuple[str, ...] = ()
    realm: str = ""
    token_life: Duration = 300.0
    token: TokenConfig = TokenConfig()

    @field_validator("realm")
    @classmethod
    def _check_realm(cls, realm: str) -> str:
        if realm and not realm.startswith(("http://", "https://")):
            raise ValueError(f'{realm!r} is no URL: write it as in "https://edge.example.com/token"')
        return realm

    @field_validator("token_life")
    @classmethod
    def _check_life(cls, seconds: float) -> float:
        if seconds < 60:
            raise ValueError("clients take a token to hold for a minute at least: write 1m or more")
        return seconds

    @property
    def gives_tokens(self) -> bool:
        return self.htpasswd is not None or self.pass_through

    @property
    def takes_logins(self) -> bool:
        """Whether there is a way to log in, beside client certificates."""
        return self.gives_tokens or self.token.is_given
