"""TOML and environment in, one frozen `Config` out.

Every key has a default, a unit and a line in docs/configuration.md. Nothing below this module can read configuration.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from edgeproxy.lines import line_of
from edgeproxy.oci.errors import NameInvalid
from edgeproxy.oci.reference import DOCKER_HUB, parse_registry
from edgeproxy.remote.transport import CertificateInvalid, Proxies, ProxyInvalid, tls
from edgeproxy.remote.windows import Terms, Window, split_window

KNOWN_REGISTRIES = {
    DOCKER_HUB: "https://registry-1.docker.io",
    "ghcr.io": "https://ghcr.io",
    "quay.io": "https://quay.io",
    "registry.k8s.io": "https://registry.k8s.io",
    "gcr.io": "https://gcr.io",
    "mcr.microsoft.com": "https://mcr.microsoft.com",
    "public.ecr.aws": "https://public.ecr.aws",
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_ENVIRONMENT = {"EDGEPROXY_LISTEN": "listen", "EDGEPROXY_ADMIN": "admin", "EDGEPROXY_DATA": "data"}


class ConfigError(Exception):
    """What is wrong with a configuration, where, and what to write instead."""


def parse_duration(value: object) -> float:
    """`"5m"` is 300.0 seconds. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError(f'{value!r} is not a duration: write a number and a unit, as in "30s", "5m", "12h", "30d"')
    return float(found[1]) * _SECONDS[found[2]]


def parse_size(value: object) -> int:
    """`"200GB"` is 200,000,000,000 bytes, `"1GiB"` is 2**30. Raises ValueError."""
    found = (
        re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)", value.strip(), re.IGNORECASE)
        if isinstance(value, str)
        else None
    )
    if not found:
        raise ValueError(f'{value!r} is not a size: write a number and a unit, as in "500MB", "200GB", "1GiB"')
    return int(float(found[1]) * _BYTES[found[2].upper()])


def parse_share(value: object) -> float | int:
    """`"5%"` is the float 0.05, a share of the disk; anything else is a size. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if not found:
        return parse_size(value)
    if float(found[1]) > 100:
        raise ValueError(f"{value!r} is more than the whole disk")
    return float(found[1]) / 100


def parse_percentage(value: object) -> float:
    """`"20%"` is 0.2. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if not found or float(found[1]) > 100:
        raise ValueError(f'{value!r} is not a percentage: write a number up to 100 and "%", as in "20%"')
    return float(found[1]) / 100


def parse_rate(value: object) -> int:
    """`"10MB"` is 10,000,000 bytes per second. Raises ValueError."""
    rate = parse_size(value)
    if not rate:
        raise ValueError(f'{value!r} would let nothing pass: write a size above 0, as in "10MB"')
    return rate


def parse_window(value: object) -> Window:
    """`"22:00-05:00 20MB"`; `unlimited` is no bound. Raises ValueError."""
    if isinstance(value, Window):
        return value
    start, stop, rate = split_window(value if isinstance(value, str) else repr(value))
    return Window(start, stop, None if rate == "unlimited" else parse_rate(rate))


def parse_address(value: object) -> tuple[str, int]:
    """`"0.0.0.0:5000"`; the host may be left out, an IPv6 address stands in brackets. Raises ValueError."""
    host, colon, port = str(value).rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f'{value!r} is not an address: write host:port, as in "0.0.0.0:5000"')
    return host.strip("[]") or "0.0.0.0", int(port)


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
Share = Annotated[float | int, BeforeValidator(parse_share)]
Percentage = Annotated[float, BeforeValidator(parse_percentage)]
Rate = Annotated[int, BeforeValidator(parse_rate)]
TimeWindow = Annotated[Window, BeforeValidator(parse_window), PlainSerializer(str, return_type=str)]
Address = Annotated[tuple[str, int], BeforeValidator(parse_address)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CacheConfig(_Section):
    budget: Share | None = None
    reserve: Share = 0.05
    memory: Size = 256 * 10**6


class LinkConfig(_Section):
    budget: Rate | None = None
    burst: Rate | None = None
    windows: tuple[TimeWindow, ...] = ()

    def terms(self) -> Terms:
        return Terms(self.budget, self.burst, self.windows)


class UpstreamConfig(_Section):
    url: str
    role: Literal["origin", "mirror", "peer"] = "origin"
    priority: int = 0
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
    reserve: Percentage = 0.2

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^/@?#\s]+(/[^?#\s]*)?", url):
            told = "what holds a login" if "@" in url else repr(url)  # which is not for the log
            raise ValueError(f'{told} is not the URL of a registry: write it as in "https://registry.example.com"')
        return url.rstrip("/")

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


_PASSWORDS = ("password", "password_file", "password_env")
_LOGINS = ("docker_config", "credential_helper", "login_command")


class RegistryConfig(_Section):
    default: bool = False
    hosts: tuple[str, ...] = ()
    upstream: tuple[UpstreamConfig, ...] = ()


class RuleConfig(_Section):
    match: str
    fresh: Duration | None = None
    max_stale: Duration | None = None


class TimeoutConfig(_Section):
    connect: Duration = 5.0
    first_byte: Duration = 20.0
    idle: Duration = 30.0
    answer: Duration = 25.0
    drain: Duration = 30.0


def _data_directory() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/edgeproxy")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "edgeproxy"


class Config(_Section):
    listen: Address = ("0.0.0.0", 5000)
    admin: Address = ("127.0.0.1", 5001)
    data: Path = Field(default_factory=_data_directory)
    offline: bool = False
    log_level: str = "info"
    cache: CacheConfig = CacheConfig()
    timeout: TimeoutConfig = TimeoutConfig()
    link: LinkConfig = LinkConfig()
    registry: dict[str, RegistryConfig] = Field(default_factory=dict)
    rule: tuple[RuleConfig, ...] = ()

    @field_validator("log_level")
    @classmethod
    def _check_level(cls, level: str) -> str:
        if level.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError(f'{level!r} is not a level: write "debug", "info", "warning" or "error"')
        return level.lower()

    @field_validator("registry")
    @classmethod
    def _check_registries(cls, given: Mapping[str, RegistryConfig]) -> dict[str, RegistryConfig]:
        """Known registries join those that are configured, and every one gets its upstream."""
        found = {name: RegistryConfig(upstream=(UpstreamConfig(url=url),)) for name, url in KNOWN_REGISTRIES.items()}
        names: dict[str, str] = {}
        for text, registry in given.items():
            try:
                name = parse_registry(text)
            except NameInvalid as error:
                raise ValueError(error.message) from error
            if name in names:
                raise ValueError(f"{text!r} and {names[name]!r} are one registry: keep one of them")
            names[name] = text
            url = KNOWN_REGISTRIES.get(name, f"https://{name}")
            found[name] = (
                registry if registry.upstream else registry.model_copy(update={"upstream": (UpstreamConfig(url=url),)})
            )
        if sum(registry.default for registry in found.values()) > 1:
            raise ValueError("more than one registry says default = true: keep one")
        return found

    @property
    def default_registry(self) -> str:
        return next((name for name, registry in self.registry.items() if registry.default), DOCKER_HUB)

    def effective(self) -> dict[str, Any]:
        """Every key with its value in force, secrets blanked, in the order of the documentation."""
        return self.model_dump(mode="json")


def load(file: Path | None, environment: Mapping[str, str]) -> Config:
    """Raises `ConfigError`."""
    text = ""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read: {error}") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error
    document.setdefault("registry", {})
    overrides = {key: environment[variable] for variable, key in _ENVIRONMENT.items() if variable in environment}
    try:
        config = Config.model_validate({**document, **overrides})
    except ValidationError as error:
        lines = [_explain(problem, file, text, overrides) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(lines)) from error
    _check_surroundings(config, file, environment)
    return config


def _check_surroundings(config: Config, file: Path | None, environment: Mapping[str, str]) -> None:
    secrets = {each.password_env for registry in config.registry.values() for each in registry.upstream}
    for variable in environment:
        if variable.startswith("EDGEPROXY_") and variable not in (*_ENVIRONMENT, "EDGEPROXY_CONFIG", *secrets):
            raise ConfigError(f"unknown variable {variable}{_nearest(variable, [*_ENVIRONMENT, 'EDGEPROXY_CONFIG'])}")
    try:
        Proxies(environment)
    except ProxyInvalid as error:
        raise ConfigError(str(error)) from error
    for name, registry in config.registry.items():
        for number, upstream in enumerate(registry.upstream):
            try:
                upstream.check_files(environment)
            except ConfigError as error:
                raise ConfigError(f"{file}: registry.{name}.upstream.{number}: {error}") from error


def _explain(problem: Any, file: Path | None, text: str, overrides: Mapping[str, str]) -> str:
    """One line: where, what, and what to write instead."""
    path = [step for step in problem["loc"] if step not in ("float", "int")]
    variable = next((name for name, key in _ENVIRONMENT.items() if path == [key] and key in overrides), None)
    line = line_of(path, text)
    where = variable or f"{file}{f':{line}' if line else ''}"
    key = ".".join(map(str, path))
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key {key!r}{_nearest(str(path[-1]), _keys_beside(path))}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key}: {message}"


def _nearest(word: str, words: Sequence[str]) -> str:
    near = get_close_matches(word, words, n=1, cutoff=0.5)
    return f": did you mean {near[0]!r}?" if near else f": known are {', '.join(words)}"


def _keys_beside(path: Sequence[str | int]) -> list[str]:
    """The keys of the section that `path` leads to."""
    sections: dict[str, type[BaseModel]] = {
        "cache": CacheConfig,
        "timeout": TimeoutConfig,
        "link": LinkConfig,
        "rule": RuleConfig,
    }
    section: type[BaseModel] = Config
    if len(path) > 1:
        section = sections.get(
            str(path[0]), UpstreamConfig if "upstream" in path[2:] and len(path) > 3 else RegistryConfig
        )
    return list(section.model_fields)
