"""From the journal to a target, with time in the test's hands: a real catalogue here, a real registry there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgeproxy.cache.shipments import Shipments
from edgeproxy.jobs.backlog import Backlog
from edgeproxy.jobs.replicate import Replication
from edgeproxy.jobs.targets import Target
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.remote.peer import RegistryPeer
from edgeproxy.sites.filters import Chain
from edgeproxy.sites.policies import ReplicationPolicy
from edgeproxy.sites.schedule import Schedule
from edgeproxy.sites.tasks import Lag
from edgeproxy.store.outbox import Outbox
from edgeproxy.store.pushed import Pushed
from edgeproxy.store.versions import TagStates
from tests.api.conftest import Proxy, serving
from tests.cache.core import HERE, Core, running
from tests.fakes.bodies import said
from tests.fakes.shelf import image_manifest
from tests.parts.processes import need, wait_until
from tests.parts.registry import DockerRegistry
from tests.parts.relay import RecordingRelay
from tests.remote.peers import peer_at

CONFIG = b"{}"
ALL = ReplicationPolicy("all", Chain(), ("there",))
ANYBODY = {"access": [{"allow": "replicator", "to": ["*"]}]}


@dataclass
class Here:
    """A site that writes, and the way from it to another."""

    core: Core
    peer: RegistryPeer
    relay: RecordingRelay
    policies: Sequence[ReplicationPolicy]

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """As the daemon does; called again, as after a restart."""
        core = self.core
        self.outbox, states = Outbox(core.catalog), TagStates(core.catalog)
        self.backlog = Backlog(self.outbox, core.clock, lambda: 0.5)
        self.target = Target(self.peer, core.clock, lambda: 0.5)
        shipments = Shipments(core.library, core.store, states, Pushed(core.catalog), "here")
        self.replication = Replication(self.outbox, self.backlog, states, core.clock, core.spawn, core.traffic)
        self.replication.configure(self.policies, [self.target], shipments)

    async def step(self, seconds: float = 0.0) -> None:
        """So much later, and all that follows from that."""
        self.core.clock.advance(seconds)
        await self.replication.step()
        await wait_until(lambda: not any(map(_is_ours, asyncio.all_tasks())), "all that follows is done")

    async def push(self, name: str = "1.0", layer: bytes = b"a layer", repository: Repository = HERE) -> Digest:
        for body in (CONFIG, layer):
            await self.core.uploads.whole(Pinned(repository, Digest.of(body)), said(body))
        new = await self.core.manifests.put(Tag(repository, name), image_manifest(CONFIG, [layer]), OCI_MANIFEST)
        return new.descriptor.digest

    def lag(self) -> Lag:
        return self.backlog.lag("store")


@asynccontextmanager
async def site(core: Core, url: str, *policies: ReplicationPolicy) -> AsyncIterator[Here]:
    async with RecordingRelay(url) as relay, peer_at(relay.url, clock=core.clock) as peer:
        yield Here(core, peer, relay, [replace(policy, targets=(peer.name,)) for policy in policies or [ALL]])


@asynccontextmanager
async def two(tmp_path: Path, *policies: ReplicationPolicy) -> AsyncIterator[tuple[Here, Proxy]]:
    async with (
        running(tmp_path / "here") as core,
        serving(tmp_path, ANYBODY) as there,
        site(core, f"http://127.0.0.1:{there.port}", *policies) as here,
    ):
        yield here, there


def _is_ours(task: asyncio.Task[object]) -> bool:
    return task.get_name().startswith(("replicate", "schedule"))


def named(there: Proxy, repository: Repository = HERE) -> dict[str, Digest]:
    states = TagStates(there.daemon.catalog).states(repository)
    return {name: state.descriptor.digest for name, state in states.items() if state.descriptor}


async def test_what_is_written_is_delivered_and_forgotten(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        digest = await here.push()
        await here.step()
        assert named(there) == {"1.0": digest}
        assert (here.backlog.tasks, here.lag(), await here.outbox.events(1)) == ({}, Lag(0.0, 0, 0), [])
        assert here.outbox.rows("task/") == []
        execution = here.backlog.executions["all", "store"]
        assert (execution.state, execution.tasks, execution.trigger) == ("done", 1, "event")
        assert execution.sent == here.core.traffic.shipped["store"] > 0
        exchanges = len(here.relay.exchanges)
        await here.step(1)
        assert len(here.relay.exchanges) == exchanges, "there is nothing to be said"


async def test_the_lag_is_that_of_the_oldest_write_and_ends_with_its_delivery(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        await here.relay.refuse()
        begun = here.core.clock.now()
        first = await here.push("1.0", b"first")
        await here.step()
        assert here.target.standing is None
        for name, layer in (("1.1", b"second"), ("1.0", b"third")):
            here.core.clock.advance(100)
            last = await here.push(name, layer)
        await here.step()
        lag = here.lag()
        assert (lag.seconds, lag.tasks) == (here.core.clock.now() - begun, 2), "two tags, one of them written twice"
        assert lag.size > 0
        await here.relay.accept()
        await here.step(61)
        assert first != last
        assert named(there) == {"1.0": last, "1.1": named(there)["1.1"]}
        assert here.lag() == Lag(0.0, 0, 0)


async def test_who_is_away_is_asked_less_often_but_every_minute_at_least(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        await here.relay.refuse()
        await here.push()
        gaps, last = [], here.core.clock.now()
        for _ in range(9):
            await here.step()
            gaps.append(here.target.next_check - here.core.clock.now())
            failures = here.target.failures
            await here.step(gaps[-1] - 0.1)
            assert here.target.failures == failures, "it rests"
            here.core.clock.advance(0.2)
        assert gaps == sorted(gaps)
        assert gaps[0] <= 1
        assert gaps[-1] <= 60
        await here.relay.accept()
        await here.step(60)
        assert len(named(there)) == 1
        assert here.core.clock.now() > last


async def test_what_is_to_be_sent_outlives_the_process(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        await here.relay.refuse()
        digest = await here.push("1.0")
        await here.step()
        other = await here.push("1.1", b"not looked at yet")
        tasks = dict(here.backlog.tasks)
        await here.relay.accept()
        here.begin()
        assert here.backlog.tasks == tasks
        await here.step()
        assert named(there) == {"1.0": digest, "1.1": other}


async def test_what_no_event_told_of_is_found_when_a_target_is_back(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        digest = await here.push()
        (event,) = await here.outbox.events(10)
        await here.outbox.settle(event.sequence, {}, [])
        await here.step()
        assert named(there) == {"1.0": digest}
        assert here.backlog.executions["all", "store"].trigger == "reconnect"


async def test_a_schedule_compares_and_what_was_missed_is_made_good_once(tmp_path: Path) -> None:
    nightly = replace(ALL, on_event=False, schedule=Schedule.parse("0 * * * *"))
    async with two(tmp_path, nightly) as (here, there):
        await here.step()
        digest = await here.push()
        await here.step(1)
        assert named(there) == {}
        here.core.clock.advance(3 * 3600)
        here.begin()
        here.target.compared = True  # so that it is the schedule that finds it
        here.target.standing = await here.peer.check(None)
        await here.step()
        await here.step()
        assert named(there) == {"1.0": digest}
        assert here.backlog.executions["all", "store"].trigger == "schedule"
        asked = len(here.relay.asked("GET", "/tags/list"))
        await here.step(1)
        assert len(here.relay.asked("GET", "/tags/list")) == asked


async def test_what_is_stopped_waits_and_goes_on(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        await here.relay.refuse()
        digest = await here.push()
        await here.step()
        await here.backlog.steer([("all", "store")], lambda execution: execution.stopped())
        await here.relay.accept()
        await here.step(61)
        assert named(there) == {}
        await here.backlog.steer([("all", "store")], lambda execution: execution.resumed())
        await here.backlog.retry("store")
        await here.step()
        assert named(there) == {"1.0": digest}


async def test_tasks_of_a_policy_that_is_gone_are_gone(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, _):
        await here.relay.refuse()
        await here.push()
        await here.step()
        assert len(here.backlog.tasks) == 1
        here.policies = []
        here.begin()
        await here.step()
        assert (here.backlog.tasks, here.outbox.rows("task/"), here.outbox.rows("execution/")) == ({}, [], [])


@pytest.mark.parametrize("mirrored", [True, False])
async def test_deletions_are_sent_where_the_policy_says_so(tmp_path: Path, mirrored: bool) -> None:
    async with two(tmp_path, replace(ALL, deletions=mirrored)) as (here, there):
        await here.push()
        await here.step()
        await here.core.removals.tag(Tag(HERE, "1.0"))
        await here.step()
        assert bool(named(there)) is not mirrored
        assert here.backlog.tasks == {}


async def test_filters_decide_what_is_sent(tmp_path: Path) -> None:
    chain = Chain.parse(images=["nginx"], tags=["semver:>=1.2", "!*-debug"])
    other = Repository("docker.io", "library/redis")
    async with two(tmp_path, replace(ALL, chain=chain)) as (here, there):
        for name in ("1.1.0", "1.2.0", "1.3.0-debug", "latest"):
            await here.push(name)
        await here.push("1.2.0", repository=other)
        await here.step()
        assert set(named(there)) == {"1.2.0"}
        assert named(there, other) == {}
        here.begin()
        await here.step()
        assert set(named(there)) == {"1.2.0"}, "nor by a comparison"


async def test_a_registry_that_deletes_no_tags_is_not_asked_for_ever(tmp_path: Path) -> None:
    need("docker-registry")
    async with (
        running(tmp_path / "here") as core,
        DockerRegistry(tmp_path / "registry") as registry,
        site(core, registry.url, replace(ALL, deletions=True)) as here,
    ):
        await here.push()
        await here.step()
        assert here.relay.asked("PUT", "/v2/library/nginx/manifests/1.0")
        assert here.backlog.tasks == {}
        await here.core.removals.tag(Tag(HERE, "1.0"))
        await here.step()
        assert here.relay.asked("DELETE", "/v2/library/nginx/manifests/1.0")
        assert here.backlog.tasks == {}


async def test_what_a_target_refuses_is_tried_again_with_its_words(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "here") as core,
        serving(tmp_path) as there,
        site(core, f"http://127.0.0.1:{there.port}") as here,
    ):
        await here.push()
        await here.step()
        assert here.target.standing is None
        assert "is an edgeproxy where our login is no replicator" in here.target.trouble
        (task,) = here.backlog.tasks.values()
        assert (task.retry_count, here.lag().tasks) == (0, 1), "it was not even begun"


async def test_a_signature_goes_where_any_tag_of_its_subject_goes(tmp_path: Path) -> None:
    chain = Chain.parse(tags=["semver:>=1.2"])
    async with two(tmp_path, replace(ALL, chain=chain)) as (here, there):
        digest = await here.push("a-name-of-no-policy")
        await here.push("1.2.0")
        signature = f"{digest.replace(':', '-')}.sig"
        await here.push(signature, b"a signature")
        (*_, last) = await here.outbox.events(10)
        await here.outbox.settle(last.sequence, {}, [])  # so that it is the comparison that decides
        await here.step()
        assert set(named(there)) == {"1.2.0", signature}


async def test_a_target_that_has_too_little_room_is_told_of(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, _):
        assert await here.target.check(None, 10**15)
        assert "raise its cache.budget" in here.target.trouble
        assert await here.target.check(None, 1)
        assert here.target.trouble == ""
