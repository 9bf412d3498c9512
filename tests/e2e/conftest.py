"""An upstream with real images in it, and the relay in front of it that sees and breaks what the tests want."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.guarded import SECRET
from tests.parts.authorities import Certificates, certificates
from tests.parts.images import Gallery, push_gallery
from tests.parts.processes import need
from tests.parts.registry import DockerRegistry
from tests.parts.relay import RecordingRelay
from tests.parts.tokens import TokenServer


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[DockerRegistry]:
    async with DockerRegistry(tmp_path / "registry") as registry:
        yield registry


@pytest.fixture
async def gallery(registry: DockerRegistry) -> Gallery:
    return await push_gallery(registry.url)


@pytest.fixture
async def relay(registry: DockerRegistry) -> AsyncIterator[RecordingRelay]:
    async with RecordingRelay(registry.url) as relay:
        yield relay


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need("openssl")
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def tokens(signed: Certificates) -> AsyncIterator[TokenServer]:
    async with TokenServer(signed, "me", SECRET) as tokens:
        yield tokens
