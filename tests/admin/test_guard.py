"""Who may ask what only operators may, where the admin listener can be reached by others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from edgeproxy.admin.app import admin_app
from edgeproxy.oci.credentials import Credentials
from edgeproxy.units import is_loopback
from tests.access.test_users import hashed
from tests.api.conftest import serving

RULES = [{"allow": "operator", "to": ["root"]}, {"allow": "operator", "to": ["alice"], "on": ["a.test/*"]}]


@asynccontextmanager
async def guarded(tmp_path: Path) -> AsyncIterator[str]:
    users = tmp_path / "users"
    users.write_text(f"root:{hashed('right')}\nalice:{hashed('right')}\n")
    async with serving(tmp_path, {"auth": {"htpasswd": users}, "access": RULES}) as proxy:
        daemon = proxy.daemon
        app = admin_app(daemon.operations(), daemon.allow_operator)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


@pytest.mark.parametrize(
    ("name", "password", "status"),
    [("root", "right", 202), ("root", "wrong", 401), ("alice", "right", 403), ("", "", 401)],
)
async def test_only_operators_ask_for_something(tmp_path: Path, name: str, password: str, status: int) -> None:
    fields = {"Authorization": Credentials(name, password).basic()} if name else {}
    async with guarded(tmp_path) as url, aiohttp.ClientSession(headers=fields) as session:
        async with session.post(f"{url}/api/v1/prefetch", json={"images": ["a.test/app:1"]}) as answer:
            assert answer.status == status
            assert ("WWW-Authenticate" in answer.headers) is (status == 401)
            if status >= 400:
                assert answer.content_type == "application/problem+json"
                assert (await answer.json(content_type=None))["status"] == status
        for path in ("healthz", "readyz", "metrics"):
            async with session.get(f"{url}/{path}") as answer:
                assert answer.status == 200


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)],
)
def test_what_is_asked_from_this_machine_alone_needs_no_role(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        (None, None, 202),
        ("own", None, 202),
        ("http://evil.test", None, 403),
        ("null", None, 403),
        ("http://evil.test", "evil.test", 403),
    ],
    ids=["no browser", "a page of ours", "another page", "a file", "a name that leads here"],
)
async def test_a_page_from_elsewhere_asks_for_nothing(
    tmp_path: Path, origin: str | None, host: str | None, status: int
) -> None:
    async with guarded(tmp_path) as url, aiohttp.ClientSession() as session:
        fields = {"Authorization": Credentials("root", "right").basic()}
        fields |= {"Origin": url if origin == "own" else origin} if origin else {}
        fields |= {"Host": host} if host else {}
        async with session.post(f"{url}/api/v1/prefetch", json={"images": ["a.test/app:1"]}, headers=fields) as answer:
            assert answer.status == status
        async with session.get(f"{url}/metrics", headers=fields) as answer:
            assert answer.status == 200
