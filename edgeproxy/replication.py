"""Sections of the configuration that say what goes to which sites."""

from functools import partial
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr, model_validator

from edgeproxy.sections import ConfigError, Section
from edgeproxy.sites.filters import Chain, Filter
from edgeproxy.sites.policies import Mode, PullPolicy, ReplicationPolicy
from edgeproxy.sites.schedule import Schedule
from edgeproxy.units import Duration

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


def _filter(value: object, *, versions: bool = False) -> Filter:
    if isinstance(value, str):
        return Filter.parse(value, versions=versions)
    raise ValueError(f'{value!r} is not a filter: write a word, as in "team-*"')


def _schedule(value: object) -> Schedule:
    return Schedule.parse(str(value))


_AsWritten = PlainSerializer(lambda word: word.text, return_type=str)
AFilter = Annotated[Filter, BeforeValidator(_filter), _AsWritten]
TagFilter = Annotated[Filter, BeforeValidator(partial(_filter, versions=True)), _AsWritten]
ASchedule = Annotated[Schedule, BeforeValidator(_schedule), PlainSerializer(str, return_type=str)]


class ReplicationConfig(Section):
    name: str = Field(pattern=_NAME)
    targets: tuple[str, ...] = ()
    source: str = ""
    secret: SecretStr = SecretStr("")
    secret_file: Path | None = None
    projects: tuple[AFilter, ...] = ()
    images: tuple[AFilter, ...] = ()
    tags: tuple[TagFilter, ...] = ()
    media_types: tuple[AFilter, ...] = ()
    artifact_types: tuple[AFilter, ...] = ()
    events: bool = True
    schedule: ASchedule | None = None
    deletions: bool = False
    likely: bool = False
    mode: Mode = "async"
    timeout: Duration = 30.0

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.mode != "async" and not self.events:
            raise ValueError(f'mode = "{self.mode}" waits for what events = false never sends: remove one of them')
        return self

    @model_validator(mode="after")
    def _check_direction(self) -> Self:
        if self.source and self.targets:
            raise ValueError("a policy either sends to targets or brings from its source: write two of them")
        if self.source and self.mode != "async":
            raise ValueError(f'mode = "{self.mode}" is about pushes, and nothing is sent from a source: remove it')
        if self.likely and not self.source:
            raise ValueError("likely is about what a source tells: name the source, too")
        if not self.source and (self.secret_file or self.secret.get_secret_value()):
            raise ValueError("secret is for what a source tells: name the source, too")
        if self.secret_file and self.secret.get_secret_value():
            raise ValueError("secret and secret_file are both given: keep secret_file")
        return self

    def notices_secret(self) -> str:
        """What the source proves itself by; empty where it is not listened to. Raises `ConfigError`."""
        if self.secret_file is None:
            return self.secret.get_secret_value()
        try:
            return self.secret_file.read_text().strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"secret_file cannot be read: {error}") from error

    def pull_policy(self) -> PullPolicy:
        return PullPolicy(
            self.name, self._chain(), self.source, self.events, self.schedule, self.deletions, self.likely
        )

    def policy(self) -> ReplicationPolicy:
        return ReplicationPolicy(
            self.name,
            self._chain(),
            self.targets,
            self.events,
            self.schedule,
            self.deletions,
            self.mode,
            self.timeout,
        )

    def _chain(self) -> Chain:
        return Chain(self.projects, self.images, self.tags, self.media_types, self.artifact_types)
