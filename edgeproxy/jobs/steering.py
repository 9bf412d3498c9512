"""What the operator sees of replication, and does with it: answers as JSON documents."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from edgeproxy.jobs.backlog import Pair
from edgeproxy.jobs.pull import Pulling
from edgeproxy.jobs.replicate import Replication
from edgeproxy.jobs.targets import Target
from edgeproxy.oci.errors import NameUnknown, RequestInvalid, Unavailable
from edgeproxy.sites.tasks import Execution, Task
from edgeproxy.store.outbox import Outbox

Document = Mapping[str, Any]
_TARGET = "target/"
_CHANGES: Mapping[str, Callable[[Execution], Execution]] = {"stop": Execution.stopped, "resume": Execution.resumed}


class Steering:
    """Of targets, those that the configuration names, and those that were registered: rows `target/<name>`."""

    def __init__(
        self, replication: Replication, pulling: Pulling, outbox: Outbox, make: Callable[[Document], Target]
    ) -> None:
        """`make` raises ValueError with what is wrong with a target's document."""
        self._replication = replication
        self._pulling = pulling
        self._outbox = outbox
        self._make = make

    # targets

    def targets(self) -> list[Document]:
        return [self._described(target) for target in self._replication.targets.values()]

    async def register(self, document: Document) -> Document:
        """Have a target, and look whether it takes what is sent. Raises ValueError, `RequestInvalid`, `StoreFull`."""
        target = self._make(document)
        name = target.peer.name
        if name in self._replication.targets and not self._is_registered(name):
            raise RequestInvalid(f"target {name} is in the configuration: change it there, or choose another name")
        await self._outbox.settle(0, {f"{_TARGET}{name}": json.dumps(document)}, [])
        self._replication.targets = {**self._replication.targets, name: target}
        found = await self.check(name)
        self._replication.wake()
        return found

    async def unregister(self, name: str) -> None:
        """With all that is still to be sent to it. Raises `NameUnknown`, `RequestInvalid`."""
        self._target(name)
        if not self._is_registered(name):
            raise RequestInvalid(f"target {name} is in the configuration: remove it there")
        await self._outbox.settle(0, {}, [f"{_TARGET}{name}"])
        self._replication.targets = {key: each for key, each in self._replication.targets.items() if key != name}
        await self._replication.step()

    async def check(self, name: str) -> Document:
        """Ask it now. Raises `NameUnknown`."""
        target = self._target(name)
        await self._replication.look_at(target)
        return self._described(target)

    # executions and tasks

    def executions(self) -> list[Document]:
        return [asdict(execution) for execution in self._replication.backlog.executions.values()]

    def tasks(self, policy: str, target: str, limit: int) -> list[Document]:
        """The oldest, of a policy and of a target where these are given."""
        backlog = self._replication.backlog
        found = [task for task in backlog.tasks.values() if policy in ("", task.policy) and target in ("", task.target)]
        return [self._task(task) for task in sorted(found, key=lambda task: task.created)[:limit]]

    async def run(self, policy: str, target: str) -> int:
        """Compare all that a policy is about, at one target or at all of its; how much they lack, or is brought.

        Raises `NameUnknown`, `Unavailable` where a target is away.
        """
        if policy in self._pulling.policies:
            return await self._pulling.run(policy)
        found = 0
        for each in self._targets_of(policy, target):
            if each.standing is None and not await self._replication.look_at(each):
                raise Unavailable(f"target {each.peer.name} is away: {each.trouble}")
            found += await self._replication.compare(self._replication.policies[policy], each, "manual")
        self._replication.wake()
        return found

    async def steer(self, policy: str, target: str, change: str) -> Document:
        """`stop`, `resume` or `retry`. Raises `NameUnknown`."""
        backlog, pair = self._replication.backlog, (policy, target)
        if pair not in backlog.executions:
            raise NameUnknown(f"nothing was ever sent to {target!r} for {policy!r}")
        if change in _CHANGES:
            await backlog.steer([pair], _CHANGES[change])
        if change == "stop":
            await self._replication.halt(pair)
        else:
            await backlog.retry(target)
            self._replication.wake()
        return asdict(backlog.executions[pair])

    def _targets_of(self, policy: str, target: str) -> list[Target]:
        if policy not in self._replication.policies:
            raise NameUnknown(f"no [[replication]] is called {policy!r}")
        chosen = self._replication.policies[policy]
        if target and not (target in self._replication.targets and chosen.sends_to(target)):
            raise NameUnknown(f"{policy} has no target {target!r}")
        return [self._target(target)] if target else self._replication.targets_of(chosen)

    def _target(self, name: str) -> Target:
        if name not in self._replication.targets:
            raise NameUnknown(f"no target is called {name!r}")
        return self._replication.targets[name]

    def _is_registered(self, name: str) -> bool:
        return any(key == f"{_TARGET}{name}" for key, _ in self._outbox.rows(_TARGET))

    def _described(self, target: Target) -> Document:
        lag, standing = self._replication.backlog.lag(target.peer.name), target.standing
        return {
            "name": target.peer.name,
            "registered": self._is_registered(target.peer.name),
            "up": standing is not None,
            "trouble": target.trouble,
            "failures": target.failures,
            "standing": standing._asdict() if standing else None,
            "lag": lag._asdict(),
        }

    def _task(self, task: Task) -> Document:
        pair: Pair = (task.policy, task.target)
        execution = self._replication.backlog.executions.get(pair)
        stopped = execution is not None and execution.state == "stopped"
        running = task in self._replication.running
        return {**asdict(task), "state": "running" if running else "stopped" if stopped else "waiting"}


def registered(outbox: Outbox) -> list[Document]:
    """The documents of the targets that were registered."""
    return [json.loads(row) for _, row in outbox.rows(_TARGET)]
