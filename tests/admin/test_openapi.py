"""The document says of the admin API what the code does."""

import json
import logging
import re
from pathlib import Path

import aiohttp
import pytest

from edgeproxy.admin.app import admin_app
from edgeproxy.admin.openapi import OPERATIONS, PATH
from edgeproxy.oci.credentials import Credentials
from tests.admin.test_guard import guarded
from tests.api.conftest import serving
from tests.parts.edgeproxy import Edgeproxy

ROOT = {"Authorization": Credentials("root", "right").basic()}


async def test_it_names_every_route_and_no_other(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as proxy:
        app = admin_app(proxy.daemon.operations())
        routes = {
            (route.method, re.sub(r"{(\w+):[^}]*}", r"{\1}", route.resource.canonical))
            for route in app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }
    pages = {each for each in routes if each[1] == "/" or each[1].startswith("/page/")}
    assert routes - pages == set(OPERATIONS)


async def test_what_it_says_is_answered(tmp_path: Path) -> None:
    async with (
        Edgeproxy(tmp_path / "edge", {"registry.test": "http://127.0.0.1:9"}) as proxy,
        aiohttp.ClientSession(proxy.admin) as session,
    ):
        async with session.get(PATH) as answer:
            described = await answer.json()
        for path, methods in described["paths"].items():
            if "get" not in methods or "{" in path or path == "/api/v1/events":
                continue
            query = {"digest": f"sha256:{'0' * 64}"} if path.endswith("explain") else {}
            async with session.get(path, params=query) as answer:
                responses = methods["get"]["responses"]
                assert answer.content_type in responses.get(str(answer.status), responses["default"])["content"], path
        for path, methods in described["paths"].items():
            if "requestBody" in methods.get("post", {}):
                async with session.post(path, data="{}") as answer:
                    assert (answer.status, answer.content_type) == (400, "application/problem+json"), path


async def test_secrets_are_blanked(tmp_path: Path) -> None:
    login = 'username = "me"\npassword = "planted-secret"\n'
    async with (
        Edgeproxy(tmp_path / "edge", {"registry.test": "http://127.0.0.1:9"}, login=login) as proxy,
        aiohttp.ClientSession(proxy.admin) as session,
        session.get("/api/v1/config") as answer,
    ):
        text = await answer.text()
    assert "planted-secret" not in text
    assert json.loads(text)["registry"]["registry.test"]["upstream"][0]["username"] == "me"


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"level": "loud"}', '{"level": "info", "x": 1}', '{"level": 7}'])
async def test_what_is_no_level_is_told(tmp_path: Path, body: str) -> None:
    async with (
        guarded(tmp_path) as url,
        aiohttp.ClientSession(headers=ROOT) as session,
        session.put(f"{url}/api/v1/log-level", data=body) as answer,
    ):
        assert answer.status == 400
        assert "levels are debug" in (await answer.json(content_type=None))["detail"]


async def test_more_is_told_when_asked(tmp_path: Path) -> None:
    logger = logging.getLogger("edgeproxy")
    before = logger.level
    try:
        async with guarded(tmp_path) as url, aiohttp.ClientSession(headers=ROOT) as session:
            async with session.put(f"{url}/api/v1/log-level", json={"level": "error"}) as answer:
                assert await answer.json() == {"level": "error"}
            assert not logger.isEnabledFor(logging.WARNING)
    finally:
        logger.setLevel(before)
