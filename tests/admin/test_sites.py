"""The operator's requests about replication: two sites, the admin listener of the first."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from edgeproxy.admin.app import admin_app
from edgeproxy.store.versions import TagStates
from tests.api.conftest import HERE, Proxy, serving
from tests.api.pushing import push_image
from tests.parts.processes import wait_until
from tests.parts.relay import RecordingRelay

ANYBODY = [{"allow": "replicator", "to": ["*"]}]
POLICY = {"name": "shop", "targets": ["store-*"]}


@dataclass
class Sites:
    here: Proxy
    there: Proxy
    relay: RecordingRelay
    session: aiohttp.ClientSession

    @property
    def document(self) -> dict[str, str]:
        return {"name": "store-7", "url": self.relay.url}

    async def ask(self, method: str, path: str, document: object = None) -> tuple[int, Any]:
        async with self.session.request(method, f"/api/v1/{path}", json=document) as answer:
            return answer.status, await answer.json(content_type=None) if answer.status != 204 else None

    async def wrong(self, method: str, path: str, document: object = None) -> tuple[int, str]:
        """The status, and what the problem document says."""
        status, problem = await self.ask(method, path, document)
        assert problem["status"] == status
        return status, problem["detail"]

    async def step(self) -> None:
        await self.here.daemon.replication.step()
        await wait_until(lambda: not self.here.daemon.replication.running, "nothing is being sent")


@asynccontextmanager
async def sites(tmp_path: Path, more: Mapping[str, Any] | None = None) -> AsyncIterator[Sites]:
    async with (
        serving(tmp_path / "there", {"access": ANYBODY}) as there,
        serving(tmp_path / "here", {"access": ANYBODY, "replication": [POLICY], **(more or {})}) as here,
        RecordingRelay(f"http://127.0.0.1:{there.port}") as relay,
    ):
        daemon = here.daemon
        app = admin_app(daemon.operations())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
                yield Sites(here, there, relay, session)
        finally:
            await runner.cleanup()


def tags(proxy: Proxy) -> set[str]:
    return {name for name, state in TagStates(proxy.daemon.catalog).states(HERE).items() if state.descriptor}


async def test_a_target_is_registered_looked_at_sent_to_and_removed(tmp_path: Path) -> None:
    async with sites(tmp_path) as both:
        await push_image(both.here, "1.0")
        status, found = await both.ask("POST", "targets", both.document)
        assert (status, found["name"], found["up"], found["registered"]) == (201, "store-7", True, True)
        assert found["standing"]["source"] == both.there.daemon.layout.name
        assert found["standing"]["free"] > 0
        await wait_until(lambda: tags(both.there) == {"1.0"}, "it is sent what was pushed before")
        await wait_until(lambda: not both.here.daemon.replication.backlog.tasks, "that is known here")
        status, listed = await both.ask("GET", "targets")
        assert (status, [each["name"] for each in listed["targets"]]) == (200, ["store-7"])
        assert listed["targets"][0]["lag"] == {"seconds": 0.0, "size": 0, "tasks": 0}
        assert await both.ask("DELETE", "targets/store-7") == (204, None)
        assert await both.ask("GET", "targets") == (200, {"targets": []})
        assert (await both.wrong("DELETE", "targets/store-7"))[0] == 404


async def test_a_target_that_is_away_is_registered_nevertheless(tmp_path: Path) -> None:
    async with sites(tmp_path) as both:
        await both.relay.refuse()
        status, found = await both.ask("POST", "targets", both.document)
        assert (status, found["up"]) == (201, False)
        assert "cannot be reached" in found["trouble"]
        status, detail = await both.wrong("POST", "executions", {"policy": "shop"})
        assert status == 503
        assert "store-7 is away" in detail
        await both.relay.accept()
        status, found = await both.ask("POST", "targets/store-7/check")
        assert (status, found["up"], found["trouble"]) == (200, True, "")


async def test_what_was_registered_is_there_after_a_restart(tmp_path: Path) -> None:
    async with sites(tmp_path) as both:
        document = both.document
        await both.ask("POST", "targets", document)
    async with sites(tmp_path) as both:
        _, listed = await both.ask("GET", "targets")
        assert [(each["name"], each["registered"]) for each in listed["targets"]] == [("store-7", True)]


async def test_tasks_are_listed_stopped_and_go_on(tmp_path: Path) -> None:
    async with sites(tmp_path) as both:
        await both.ask("POST", "targets", both.document)
        target = both.here.daemon.replication.targets["store-7"]
        await wait_until(lambda: target.compared, "they are compared")
        await both.relay.refuse()
        await push_image(both.here, "1.0")
        await wait_until(lambda: target.standing is None, "it is known to be away")
        await both.step()
        _, found = await both.ask("GET", "tasks?target=store-7&policy=shop")
        (task,) = found["tasks"]
        assert (task["reference"], task["state"]) == (f"{HERE}:1.0", "waiting")
        assert task["task_id"]
        assert await both.ask("GET", "tasks?target=another") == (200, {"tasks": []})
        status, execution = await both.ask("POST", "executions/shop/store-7/stop")
        assert (status, execution["state"]) == (200, "stopped")
        assert (await both.ask("GET", "tasks"))[1]["tasks"][0]["state"] == "stopped"
        await both.relay.accept()
        await both.ask("POST", "targets/store-7/check")
        await both.step()
        assert tags(both.there) == set()
        status, execution = await both.ask("POST", "executions/shop/store-7/resume")
        assert (status, execution["state"]) == (200, "active")
        await wait_until(lambda: tags(both.there) == {"1.0"}, "it goes on")

        async def is_noted() -> bool:  # which follows what the other site shows
            _, found = await both.ask("GET", "executions")
            (execution,) = found["executions"]
            return (execution["policy"], execution["target"], execution["tasks"]) == ("shop", "store-7", 1)

        await wait_until(is_noted, "it is noted")


async def test_an_operator_has_all_compared(tmp_path: Path) -> None:
    async with sites(tmp_path, {"replication": [{**POLICY, "events": False}]}) as both:
        await both.ask("POST", "targets", both.document)
        await both.step()
        await push_image(both.here, "1.0")
        await both.step()
        assert tags(both.there) == set()
        assert await both.ask("POST", "executions", {"policy": "shop"}) == (202, {"missing": 1})
        await wait_until(lambda: tags(both.there) == {"1.0"}, "it is sent")
        assert await both.ask("POST", "executions", {"policy": "shop", "target": "store-7"}) == (202, {"missing": 0})


@pytest.mark.parametrize(
    ("method", "path", "document", "status", "told"),
    [
        ("POST", "targets", {"name": "a"}, 400, "url: Field required"),
        ("POST", "targets", {"name": "a", "url": "edge"}, 400, "is not the URL of a registry"),
        ("POST", "targets", {"name": "a", "url": "http://a", "pasword_file": "x"}, 400, "pasword_file"),
        ("POST", "targets", {"name": "a", "url": "http://a", "username": "me", "password": "x"}, 400, "password_file"),
        ("POST", "targets", ["a"], 400, 'write {"name"'),
        ("POST", "targets", {"name": "fixed", "url": "http://127.0.0.1:9"}, 409, "is in the configuration"),
        ("DELETE", "targets/fixed", None, 409, "is in the configuration"),
        ("POST", "targets/nobody/check", None, 404, "no target is called 'nobody'"),
        ("POST", "executions", {"policy": "nothing"}, 404, "no [[replication]] is called 'nothing'"),
        ("POST", "executions", {"policy": "shop", "target": "fixed"}, 404, "shop has no target 'fixed'"),
        ("POST", "executions", {"policy": 1}, 400, "known keys are policy and target"),
        ("POST", "executions/shop/store-9/stop", None, 404, "nothing was ever sent to 'store-9'"),
        ("GET", "tasks?limit=0", None, 400, "limit is a number from 1 to 1000"),
    ],
)
async def test_what_is_wrong_is_told(
    tmp_path: Path, method: str, path: str, document: object, status: int, told: str
) -> None:
    fixed = {"target": [{"name": "fixed", "url": "http://127.0.0.1:9"}]}
    async with sites(tmp_path, fixed) as both:
        found = await both.wrong(method, path, document)
        assert found[0] == status
        assert told in found[1]
