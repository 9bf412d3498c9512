"""TOML and environment in, one frozen `Config` out.

Every key has a default, a unit and a line in docs/configuration.md. Nothing below this module can read configuration.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from edgeproxy.access.users import UsersInvalid, read_users
from edgeproxy.access.verifier import KeysInvalid, read_certificates, read_key_set
from edgeproxy.cache.rules import Rule
from edgeproxy.learning import LearnConfig
from edgeproxy.lines import line_of
from edgeproxy.logs import Form
from edgeproxy.oci.errors import NameInvalid
from edgeproxy.oci.reference import DOCKER_HUB, parse_registry
from edgeproxy.registries import RegistryConfig, TargetConfig, UpstreamConfig
from edgeproxy.remote.transport import CertificateInvalid, Proxies, ProxyInvalid
from edgeproxy.remote.windows import Terms
from edgeproxy.replication import ReplicationConfig
from edgeproxy.sections import AccessConfig, AuthConfig, ConfigError, LimitsConfig, Section, TlsConfig
from edgeproxy.tls import server_context
from edgeproxy.units import Address, Duration, Rate, Share, Size, TimeWindow

KNOWN_REGISTRIES = {
    DOCKER_HUB: "https://registry-1.docker.io",
    "ghcr.io": "https://ghcr.io",
    "quay.io": "https://quay.io",
    "registry.k8s.io": "https://registry.k8s.io",
    "gcr.io": "https://gcr.io",
    "mcr.microsoft.com": "https://mcr.microsoft.com",
    "public.ecr.aws": "https://public.ecr.aws",
}
_ENVIRONMENT = {"EDGEPROXY_LISTEN": "listen", "EDGEPROXY_ADMIN": "admin", "EDGEPROXY_DATA": "data"}


class TraceConfig(Section):
    endpoint: str = ""

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str) -> str:
        if endpoint and not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", endpoint):
            raise ValueError(f'{endpoint!r} is not the URL of a collector: write it as in "http://127.0.0.1:4318"')
        return endpoint


class CacheConfig(Section):
    budget: Share | None = None
    reserve: Share = 0.05
    memory: Size = 256 * 10**6


class LinkConfig(Section):
    budget: Rate | None = None
    burst: Rate | None = None
    windows: tuple[TimeWindow, ...] = ()

    def terms(self) -> Terms:
        return Terms(self.budget, self.burst, self.windows)


class RuleConfig(Section):
    match: str
    fresh: Duration | None = None
    max_stale: Duration | None = None
    pushed_for: Duration | None = None
    kept_for: Duration | None = None
    unused_for: Duration | None = None

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.kept_for is not None and self.unused_for is not None and self.kept_for > self.unused_for:
            raise ValueError("what has to stay for kept_for cannot go after unused_for, which is shorter: swap them")
        return self

    def rule(self) -> Rule:
        return Rule(self.match, self.fresh, self.max_stale, self.pushed_for, self.kept_for, self.unused_for)


class FetchConfig(Section):
    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()


class TimeoutConfig(Section):
    connect: Duration = 5.0
    first_byte: Duration = 20.0
    idle: Duration = 30.0
    answer: Duration = 25.0
    drain: Duration = 30.0


def _data_directory() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/edgeproxy")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "edgeproxy"


class Config(Section):
    listen: Address = ("0.0.0.0", 5000)
    admin: Address = ("127.0.0.1", 5001)
    data: Path = Field(default_factory=_data_directory)
    offline: bool = False
    log_level: str = "info"
    log_format: Form = "text"
    log_requests: bool = True
    cache: CacheConfig = CacheConfig()
    timeout: TimeoutConfig = TimeoutConfig()
    tls: TlsConfig = TlsConfig()
    link: LinkConfig = LinkConfig()
    registry: dict[str, RegistryConfig] = Field(default_factory=dict)
    rule: tuple[RuleConfig, ...] = ()
    auth: AuthConfig = AuthConfig()
    access: tuple[AccessConfig, ...] = ()
    fetch: FetchConfig = FetchConfig()
    limits: LimitsConfig = LimitsConfig()
    target: tuple[TargetConfig, ...] = ()
    replication: tuple[ReplicationConfig, ...] = ()
    learn: LearnConfig = LearnConfig()
    trace: TraceConfig = TraceConfig()

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

    @model_validator(mode="after")
    def _check_targets(self) -> Self:
        names = [target.name for target in self.target]
        for kind, given in (("target", names), ("replication", [each.name for each in self.replication])):
            twice = next((name for name in given if given.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{kind}: {twice!r} is there twice: give one of them another name")
        for policy in self.replication:
            if policy.likely and not (self.learn.enabled and self.learn.waste):
                raise ValueError(
                    f"replication {policy.name}: likely goes by [learn], by which nothing is brought ahead"
                )
            if policy.source and policy.source not in self.registry:
                near = _nearest(policy.source, list(self.registry))
                raise ValueError(f"replication {policy.name}: no registry is called {policy.source!r}{near}")
            for name in policy.targets:
                if name not in names and not set(name) & set("*?["):
                    raise ValueError(
                        f"replication {policy.name}: no [[target]] is called {name!r}{_nearest(name, names)}"
                    )
        return self

    @model_validator(mode="after")
    def _check_who(self) -> Self:
        about = next((rule for rule in self.access if rule.is_about_names), None)
        if about is not None and not self.auth.takes_logins and self.tls.mtls == "off":
            raise ValueError(
                f"access: a rule is about {', '.join(about.to)}, and nobody can log in: add [auth] htpasswd"
            )
        return self

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
    remotes = [*config.target, *(each for registry in config.registry.values() for each in registry.upstream)]
    secrets = {each.password_env for each in remotes}
    for variable in environment:
        if variable.startswith("EDGEPROXY_") and variable not in (*_ENVIRONMENT, "EDGEPROXY_CONFIG", *secrets):
            raise ConfigError(f"unknown variable {variable}{_nearest(variable, [*_ENVIRONMENT, 'EDGEPROXY_CONFIG'])}")
    _check_logins(config.auth, file)
    try:
        Proxies(environment)
    except ProxyInvalid as error:
        raise ConfigError(str(error)) from error
    try:
        if (encryption := config.tls.encryption()) is not None:
            server_context(encryption)
    except CertificateInvalid as error:
        raise ConfigError(f"{file}: tls.{error}") from error
    named = [
        (f"registry.{name}.upstream.{number}", upstream)
        for name, registry in config.registry.items()
        for number, upstream in enumerate(registry.upstream)
    ]
    for policy in config.replication:
        try:
            policy.notices_secret()
        except ConfigError as error:
            raise ConfigError(f"{file}: replication.{policy.name}: {error}") from error
    for key, remote in [*named, *((f"target.{each.name}", each) for each in config.target)]:
        try:
            remote.check_files(environment)
        except ConfigError as error:
            raise ConfigError(f"{file}: {key}: {error}") from error


def _check_logins(auth: AuthConfig, file: Path | None) -> None:
    """What cannot be read is told now, not at the first login."""
    readers: list[tuple[str, Path | None, Callable[[Path], object]]] = [
        ("htpasswd", auth.htpasswd, read_users),
        ("token.keys", auth.token.keys, read_key_set),
        ("token.certificates", auth.token.certificates, read_certificates),
    ]
    for key, path, read in readers:
        try:
            if path is not None:
                read(path)
        except (OSError, UsersInvalid, KeysInvalid) as error:
            raise ConfigError(f"{file}: auth.{key}: {error}") from error


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
    return ": ".join(part for part in (where, key, message) if part)


def _nearest(word: str, words: Sequence[str]) -> str:
    near = get_close_matches(word, words, n=1, cutoff=0.5)
    return f": did you mean {near[0]!r}?" if near else f": known are {', '.join(words)}"


def _keys_beside(path: Sequence[str | int]) -> list[str]:
    """The keys of the section that `path` leads to."""
    section: type[BaseModel] = Config
    for step in path[:-1]:
        field = section.model_fields.get(str(step))
        section = _section_in(field.annotation if field else None) or section
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a key holds, or holds several of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)
