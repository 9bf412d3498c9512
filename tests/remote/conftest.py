"""Programs that anybody may run in the place of a login's own: in the path, in front of all others."""

import os
import stat
import sys
from pathlib import Path

import pytest

HELPER = """
assert sys.argv[1:] == ["get"]
print(json.dumps({"ServerURL": "", "Username": "me", "Secret": "of " + sys.stdin.read()}))
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs, in front of all others."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return directory


def program(file: Path, text: str) -> str:
    """An executable file with these lines of Python."""
    file.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)
