"""Registries that want a login, in front of the content of one that wants none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.parts.registry import DockerRegistry
from tests.parts.relay import RecordingRelay
from tests.parts.tokens import TokenServer

SECRET = "not for the log"


@asynccontextmanager
async def behind_tokens(tmp_path: Path, registry: DockerRegistry, tokens: TokenServer) -> AsyncIterator[RecordingRelay]:
    """A registry with the same content that wants tokens, and its token server, under one address."""
    relay = RecordingRelay("")
    more = tokens.configuration(f"{relay.url}/token")
    async with guarded(tmp_path, registry, more) as upstream:
        relay.target, relay.routes = upstream.url, {"/token": tokens.url}
        async with relay:
            yield relay


@asynccontextmanager
async def guarded(tmp_path: Path, registry: DockerRegistry, more: str) -> AsyncIterator[DockerRegistry]:
    """A registry with the same content that wants a login."""
    async with DockerRegistry(tmp_path / "guarded", storage=registry.storage, more=more) as guarded:
        yield guarded
