"""What is still to be sent to whom: tasks and executions, in memory as in the catalogue's rows.

task/<policy>/<target>/<reference>     -> a `Task`, until the target has it
execution/<policy>/<target>            -> an `Execution`, the newest
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from edgeproxy.interfaces import Clock
from edgeproxy.oci.reference import Reference
from edgeproxy.sites.tasks import Execution, Lag, Task, Trigger, coalesced, due, lag
from edgeproxy.store.outbox import Outbox

Pair = tuple[str, str]
"""A policy and a target, by their names."""


class Backlog:
    """Every change is written before it is relied on; only that a task is being worked on ends with the process."""

    def __init__(self, outbox: Outbox, clock: Clock, chance: Callable[[], float]) -> None:
        """`chance` gives numbers from 0 up to 1: those who failed together do not come back together."""
        self._outbox = outbox
        self._clock = clock
        self._chance = chance
        self.tasks = {key: Task.of_row(row) for key, row in outbox.rows("task/")}
        self.executions: dict[Pair, Execution] = {}
        for _, row in outbox.rows("execution/"):
            execution = Execution.of_row(row)
            self.executions[execution.policy, execution.target] = execution
        self._waiting: dict[str, asyncio.Future[None]] = {}
        """Who waits for a task to be delivered, by its key."""

    async def add(self, new: Collection[Task], trigger: Trigger, upto: int = 0) -> None:
        """Have these done; the journal up to `upto` is settled in the same transaction. Raises `StoreFull`."""
        tasks, executions = dict[str, Task](), dict[Pair, Execution]()
        for task in new:
            key = key_of(task.policy, task.target, task.reference)
            old = tasks.get(key) or self.tasks.get(key)
            tasks[key] = coalesced(old, task) if old else task
            known = self.executions.get((task.policy, task.target))
            if known is None or known.state == "done":
                begun = Execution.begin(task.policy, task.target, trigger, self._clock.now())
                executions[task.policy, task.target] = begun
        if new or upto:
            await self._settle({**_rows_of(tasks), **_rows(executions)}, upto=upto)
        self.tasks.update(tasks)
        self.executions.update(executions)

    def due(self, target: str) -> list[Task]:
        """What may be sent to a target now, the oldest first."""
        mine = [task for task in self.tasks.values() if task.target == target and not self._is_stopped(task)]
        return due(mine, self._clock.now())

    def is_current(self, task: Task) -> bool:
        """Whether nothing newer has taken its place."""
        return self.tasks.get(_key(task)) is task

    def is_due(self, task: Task) -> bool:
        """Whether it is still to be sent as it is, and not stopped."""
        return self.is_current(task) and not self._is_stopped(task)

    async def failed(self, task: Task, error: str) -> None:
        """It is tried again later; unless something newer has taken its place, which is tried at once."""
        if self.is_current(task):
            later = task.failed(error, self._clock.now(), self._chance())
            self.tasks[_key(task)] = later
            await self._settle({_key(task): later.row()})

    async def delivered(self, task: Task, sent: int) -> None:
        """`sent` in bytes. An execution ends with its last task."""
        pair = task.policy, task.target
        if pair not in self.executions:  # its policy is gone
            return
        execution = self.executions[pair].delivered(sent)
        dropped = []
        if self.is_current(task):
            dropped.append(_key(task))
            del self.tasks[_key(task)]
        if not any((each.policy, each.target) == pair for each in self.tasks.values()):
            execution = execution.done(self._clock.now())
        self.executions[pair] = execution
        await self._settle(_rows({pair: execution}), dropped)
        if dropped and (waiting := self._waiting.pop(_key(task), None)):
            waiting.set_result(None)

    def waiting(self, policy: str, target: str, reference: Reference) -> asyncio.Future[None] | None:
        """Done when the target has it; `None` where it is not to be sent, any more."""
        key = key_of(policy, target, str(reference))
        if key not in self.tasks:
            return None
        return self._waiting.setdefault(key, asyncio.get_running_loop().create_future())

    async def steer(self, pairs: Iterable[Pair], change: Callable[[Execution], Execution]) -> None:
        """Stop executions, or have them go on."""
        changed = {pair: change(self.executions[pair]) for pair in pairs}
        self.executions.update(changed)
        await self._settle(_rows(changed))

    async def retry(self, target: str) -> None:
        """Whatever waits for a target is tried at once."""
        now = self._clock.now()
        changed = {key: task.retried(now) for key, task in self.tasks.items() if task.target == target}
        self.tasks.update(changed)
        await self._settle(_rows_of(changed))

    async def forget(self, policies: Collection[str], targets: Collection[str]) -> None:
        """What is for a policy or a target that is no longer there."""
        gone = [key for key, task in self.tasks.items() if task.policy not in policies or task.target not in targets]
        lost = [pair for pair in self.executions if pair[0] not in policies or pair[1] not in targets]
        for key in gone:
            del self.tasks[key]
            if waiting := self._waiting.pop(key, None):
                waiting.cancel()
        for pair in lost:
            del self.executions[pair]
        if gone or lost:
            await self._settle({}, [*gone, *map(_execution_key, lost)])

    def lag(self, target: str) -> Lag:
        """How far a target is behind."""
        return lag([task for task in self.tasks.values() if task.target == target], self._clock.now())

    def _is_stopped(self, task: Task) -> bool:
        execution = self.executions.get((task.policy, task.target))
        return execution is not None and execution.state == "stopped"

    async def _settle(self, put: Mapping[str, str], drop: Sequence[str] = (), upto: int = 0) -> None:
        await self._outbox.settle(upto, put, drop)


def key_of(policy: str, target: str, reference: str) -> str:
    return f"task/{policy}/{target}/{reference}"


def _key(task: Task) -> str:
    return key_of(task.policy, task.target, task.reference)


def _execution_key(pair: Pair) -> str:
    return f"execution/{pair[0]}/{pair[1]}"


def _rows_of(tasks: Mapping[str, Task]) -> dict[str, str]:
    return {key: task.row() for key, task in tasks.items()}


def _rows(executions: Mapping[Pair, Execution]) -> dict[str, str]:
    return {_execution_key(pair): execution.row() for pair, execution in executions.items()}
