"""Tasks and executions: what is still to be sent to whom, how often that failed, and when it is tried again. Pure."""

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple

_BASE, _CEILING = 1.0, 60.0
"""Seconds before the first try again, and before any at most."""
_LONGEST_ERROR = 500


def backoff(failures: int, chance: float) -> float:
    """Seconds to wait after so many failures in a row: doubled each time up to a minute, and of that half or more.

    `chance` is from 0 up to 1: those who failed together do not come back together.
    """
    longest = min(_CEILING, _BASE * 2.0 ** min(failures - 1, 16))
    return longest * (0.5 + chance / 2)


@dataclass(frozen=True, slots=True)
class Task:
    """A reference that a target is to have; times in seconds since the epoch, `size` in bytes as far as it is known."""

    task_id: str
    policy: str
    target: str
    reference: str
    created: float
    """When what is to be sent was written, or the first of several such writes."""
    size: int = 0
    via: tuple[str, ...] = ()
    """The sites that the version has come through, and so know of it."""
    version: str = ""
    retry_count: int = 0
    last_error: str = ""
    next_try: float = 0.0

    @classmethod
    def new(
        cls,
        policy: str,
        target: str,
        reference: str,
        *,
        created: float,
        size: int = 0,
        via: Sequence[str] = (),
        version: str = "",
    ) -> "Task":
        return cls(str(uuid.uuid4()), policy, target, reference, created, size, tuple(via), version)

    @classmethod
    def of_row(cls, row: str) -> "Task":
        fields = json.loads(row)
        return cls(**{**fields, "via": tuple(fields["via"])})

    def row(self) -> str:
        return json.dumps(asdict(self))

    def failed(self, error: str, now: float, chance: float) -> "Task":
        """To be tried again, however often that was: a target that is away comes back some day."""
        count = self.retry_count + 1
        return replace(
            self, retry_count=count, last_error=error[:_LONGEST_ERROR], next_try=now + backoff(count, chance)
        )

    def retried(self, now: float) -> "Task":
        """To be tried now."""
        return replace(self, next_try=min(self.next_try, now))


def coalesced(old: Task, new: Task) -> Task:
    """One task for both: what the reference names when it is sent is all that counts. The lag is the older one's."""
    size = max(old.size, new.size)
    return replace(new, task_id=old.task_id, created=min(old.created, new.created), size=size)


def due(tasks: Iterable[Task], now: float) -> list[Task]:
    """What may be tried now, the oldest first."""
    return sorted((task for task in tasks if task.next_try <= now), key=lambda task: (task.created, task.reference))


class Lag(NamedTuple):
    """How far a target is behind: seconds since the oldest write it lacks, bytes, and tasks."""

    seconds: float
    size: int
    tasks: int


def lag(tasks: Sequence[Task], now: float) -> Lag:
    oldest = min((task.created for task in tasks), default=now)
    return Lag(max(0.0, now - oldest), sum(task.size for task in tasks), len(tasks))


Trigger = Literal["event", "schedule", "manual", "reconnect"]


@dataclass(frozen=True, slots=True)
class Execution:
    """What is done for a policy and a target from the first task on until none is left; `sent` in bytes."""

    execution_id: str
    policy: str
    target: str
    trigger: Trigger
    started: float
    state: Literal["active", "stopped", "done"] = "active"
    ended: float = 0.0
    tasks: int = 0
    """Delivered."""
    sent: int = 0

    @classmethod
    def begin(cls, policy: str, target: str, trigger: Trigger, now: float) -> "Execution":
        return cls(str(uuid.uuid4()), policy, target, trigger, now)

    @classmethod
    def of_row(cls, row: str) -> "Execution":
        return cls(**json.loads(row))

    def row(self) -> str:
        return json.dumps(asdict(self))

    def delivered(self, sent: int) -> "Execution":
        return replace(self, tasks=self.tasks + 1, sent=self.sent + sent)

    def done(self, now: float) -> "Execution":
        return replace(self, state="done", ended=now)

    def stopped(self) -> "Execution":
        """Nothing more is sent until it is resumed; one that is done stays so."""
        return self if self.state == "done" else replace(self, state="stopped")

    def resumed(self) -> "Execution":
        return self if self.state == "done" else replace(self, state="active")
