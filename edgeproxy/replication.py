"""Sections of the configuration that say what goes to which sites."""

from functools import partial
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from edgeproxy.sections import Section
from edgeproxy.sites.filters import Chain, Filter
from edgeproxy.sites.policies import Mode, ReplicationPolicy
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
    projects: tuple[AFilter, ...] = ()
    images: tuple[AFilter, ...] = ()
    tags: tuple[TagFilter, ...] = ()
    media_types: tuple[AFilter, ...] = ()
    artifact_types: tuple[AFilter, ...] = ()
    events: bool = True
    schedule: ASchedule | None = None
    deletions: bool = False
    mode: Mode = "async"
    timeout: Duration = 30.0

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.mode != "async" and not self.events:
            raise ValueError(f'mode = "{self.mode}" waits for what events = false never sends: remove one of them')
        return self

    def policy(self) -> ReplicationPolicy:
        chain = Chain(self.projects, self.images, self.tags, self.media_types, self.artifact_types)
        return ReplicationPolicy(
            self.name,
            chain,
            self.targets,
            self.events,
            self.schedule,
            self.deletions,
            self.mode,
            self.timeout,
        )
