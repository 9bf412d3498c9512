"""Sections of the configuration that say which registries are asked, and pushed to."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import SecretStr, ValidationError, field_validator, model_validator

from edgeproxy.remote.transport import CertificateInvalid, tls
from edgeproxy.remote.windows import Terms
from edgeproxy.sections import ConfigError, Section
from edgeproxy.units import Percentage, Rate, TimeWindow


def registry_url(text: str) -> str:
    """Without a slash at its end. Raises ValueError."""
    if not re.fullmatch(r"https?://[^/@?#\s]+(/[^?#\s]*)?", text):
        told = "what holds a login" if "@" in text else repr(text)  # which is not for the log
        raise ValueError(f'{told} is not the URL of a registry: write it as in "https://registry.example.com"')
    return text.rstrip("/")


class RemoteConfig(Section):
    """A registry elsewhere: where it is, how we log in there, and how much of the link it may have."""

    url: str
    username: str = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = None
    password_env: str = ""
    docker_config: Path | None = None
    credential_helper: str = ""
    login_command: tuple[str, ...] = ()
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    budget: Rate | None = None
    burst: Rate | None = None
    windows: tuple[TimeWindow, ...] = ()

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return registry_url(url)

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        if self.password_file is not None and self.password.get_secret_value():
            raise ValueError("password and password_file are both given: keep password_file")
        found = [key for key in (*_PASSWORDS, *_LOGINS) if self._is_given(key)]
        if len(found) > 1:
            raise ValueError(f"{' and '.join(found)} are {len(found)} logins: keep one of them")
        if found and found[0] in _LOGINS and self.username:
            raise ValueError(f"{found[0]} gives the name as well: remove username")
        if found and found[0] in _PASSWORDS and not self.username:
            raise ValueError(f"{found[0]} is given without username: name the user, too")
        if self.username and not found:
            raise ValueError("username is given without its password: add password_file")
        if self.credential_helper.startswith("docker-credential-"):
            raise ValueError(f"credential_helper is {self.credential_helper!r}: leave out 'docker-credential-'")
        return self

    @model_validator(mode="after")
    def _check_certificates(self) -> Self:
        given = [key for key in ("ca_file", "client_cert", "client_key") if getattr(self, key) is not None]
        if given and not self.url.startswith("https://"):
            raise ValueError(f"{given[0]} is of no use: {self.url} is not encrypted; write https://, or remove the key")
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key is given without client_cert: name the certificate, too")
        return self

    @property
    def has_login(self) -> bool:
        """Whether the configuration says how we log in there."""
        return any(self._is_given(key) for key in (*_PASSWORDS, *_LOGINS))

    def _is_given(self, key: str) -> bool:
        value = getattr(self, key)
        return bool(value.get_secret_value() if isinstance(value, SecretStr) else value)

    @property
    def place(self) -> str:
        """Host, port and path, as they are written: what people call it."""
        return self.url.partition("://")[2]

    @property
    def host(self) -> str:
        """Host and port, as they are written: what Docker's configuration and credential helpers call it."""
        return self.place.partition("/")[0]

    def terms(self) -> Terms:
        return Terms(self.budget, self.burst, self.windows)

    def secret(self, environment: Mapping[str, str]) -> str:
        """The password, read again from where it stands. Raises `ConfigError`."""
        if self.password_env:
            if not environment.get(self.password_env):
                raise ConfigError(f"password_env names {self.password_env}, which is not in the environment")
            return environment[self.password_env]
        if self.password_file is None:
            return self.password.get_secret_value()
        try:
            secret = self.password_file.read_text().strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"password_file cannot be read: {error}") from error
        if not secret:  # somebody is writing it
            raise ConfigError(f"password_file is empty: {self.password_file}")
        return secret

    def check_files(self, environment: Mapping[str, str]) -> None:
        """What cannot be read is told now, not at the first login. Raises `ConfigError`."""
        self.secret(environment)
        try:
            if self.docker_config is not None:
                self.docker_config.read_bytes()
            if self.ca_file is not None or self.client_cert is not None:
                tls(self.ca_file, self.client_cert, self.client_key)
        except (OSError, ValueError) as error:
            raise ConfigError(f"docker_config cannot be read: {error}") from error
        except CertificateInvalid as error:
            raise ConfigError(str(error)) from error


class UpstreamConfig(RemoteConfig):
    role: Literal["origin", "mirror", "peer"] = "origin"
    priority: int = 0
    reserve: Percentage = 0.2


class RegistryConfig(Section):
    default: bool = False
    hosts: tuple[str, ...] = ()
    upstream: tuple[UpstreamConfig, ...] = ()


class TargetConfig(RemoteConfig):
    """Who is pushed to; `fallback`: its other addresses, the best first."""

    name: str
    fallback: tuple[str, ...] = ()

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise ValueError(f"{name[:80]!r} is not a target's name: write up to 64 letters, digits and . _ -")
        return name

    @field_validator("fallback")
    @classmethod
    def _check_fallback(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(registry_url, urls))

    @property
    def urls(self) -> tuple[str, ...]:
        return (self.url, *self.fallback)


_PASSWORDS = ("password", "password_file", "password_env")
_LOGINS = ("docker_config", "credential_helper", "login_command")


def registered_target(document: Mapping[str, object]) -> TargetConfig:
    """A target that an operator registers, in the words of the configuration. Raises ValueError."""
    if document.get("password"):
        raise ValueError("a password is not kept here: write it to a file here, and name that in password_file")
    try:
        made = TargetConfig.model_validate(dict(document))
        made.check_files(os.environ)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ValueError(told.replace("Value error, ", "")) from error
    except ConfigError as error:
        raise ValueError(str(error)) from error
    return made
