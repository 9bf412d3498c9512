"""The Dockerfile, as hadolint reads it."""

from pathlib import Path

import pytest

from tests.parts.kubernetes import DEPLOY, program
from tests.parts.processes import CommandError, run


async def test_hadolint_finds_nothing_wrong() -> None:
    assert await run(program("hadolint"), "--no-color", DEPLOY / "docker/Dockerfile") == ""


async def test_hadolint_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text((DEPLOY / "docker/Dockerfile").read_text() + "RUN cd /tmp\nUSER root\n")
    with pytest.raises(CommandError, match="DL3003") as told:
        await run(program("hadolint"), "--no-color", file)
    assert "DL3002" in str(told.value)
