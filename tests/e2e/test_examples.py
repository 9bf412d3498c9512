"""What the pages tell people to type is typed here, word for word but for addresses and paths; what they show of
configuration is taken."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
import yaml

from tests.parts.edgeproxy import Edgeproxy
from tests.parts.images import Pusher, digest_of, layer
from tests.parts.processes import need, run
from tests.parts.registry import DockerRegistry

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "deploy/README.md"]
IMAGES = {
    "library/alpine": "latest",
    "library/nginx": "1.25",
    "owner/app": "2.0",
    "team/app": "2.0",
}
ELSEWHERE = {
    "make": "what runs these tests, and what a newcomer does first",
    "edgeproxy serve": "tests/parts/edgeproxy.py does it for every test here",
    "edgeproxy mirror": "tests/clients and test_mirror do",
    "kubectl": "tests/deploy renders what it would be given",
    "helm": "tests/deploy does, by Helm's own library",
}
"""How commands begin that are not typed here, and why."""
PUSHING = '[[access]]\nallow = "pusher"\nto = ["*"]\n'


class Example(NamedTuple):
    page: str
    language: str
    text: str


def examples() -> Iterator[Example]:
    for page in PAGES:
        for language, text in re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
            yield Example(page.name, language, text)


def commands() -> Iterator[Example]:
    for example in examples():
        if example.language == "console":
            for command in re.findall(r"^\$ ((?:.*\\\n)*.*)$", example.text, re.MULTILINE):
                yield example._replace(text=command)


@pytest.fixture
async def proxy(tmp_path: Path, registry: DockerRegistry) -> Edgeproxy:
    async with aiohttp.ClientSession() as session:
        for repository, tag in IMAGES.items():
            await Pusher(session, registry.url, repository).image([layer([repository])], tag)
    names = dict.fromkeys(("docker.io", "ghcr.io", "registry.example.com"), registry.url)
    return Edgeproxy(tmp_path / "edge", names, more=PUSHING)


async def test_commands_do_what_they_are_shown_for(proxy: Edgeproxy, tmp_path: Path) -> None:
    need("skopeo", "curl")
    readme = next(each.text for each in examples() if each.page == "README.md" and each.language == "toml")
    (tmp_path / "edgeproxy.toml").write_text(at_home(readme, tmp_path))
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EDGEPROXY_ADMIN": proxy.admin.partition("://")[2],
    }
    typed = 0
    async with proxy:
        places = {
            "127.0.0.1:5000": f"127.0.0.1:{proxy.port}",
            "http://127.0.0.1:5001": proxy.admin,
            "http://edge:5000": proxy.url,
            "/var/lib/edgeproxy/record": str(recorded(tmp_path)),
            "ghcr.io/owner/app@sha256:…": "ghcr.io/owner/app:2.0",
        }
        for example in commands():
            if example.text.startswith(tuple(ELSEWHERE)):
                continue
            command = example.text
            for shown, real in places.items():
                command = command.replace(shown, real)
            typed += 1
            await run("bash", "-euo", "pipefail", "-c", f"cd {tmp_path}; {command}", env=environment)
    assert typed >= 7


def recorded(tmp_path: Path) -> Path:
    """Ten days of requests, as text."""
    file = tmp_path / "record"
    file.write_text("".join(f"{hour * 3600} object{hour % 7} {10**6 + hour % 7}\n" for hour in range(240)))
    return file


def at_home(text: str, home: Path) -> str:
    """With the files that it names."""
    for name in re.findall(r'= "(/[^"]+)"', text):
        file = home / digest_of(name.encode())[-8:]
        file.write_text("somebody:$2y$05$zJZ5C4OSlFVF1u4sZvyA9uYQkmMVoA3tGLD3XoLVCXqzUZBDC4.Ny\n")
        text = text.replace(f'"{name}"', f'"{file}"')
    return text


@pytest.mark.parametrize(
    "example", [each for each in examples() if each.language == "toml"], ids=lambda each: each.page
)
def test_configuration_is_taken(example: Example, tmp_path: Path) -> None:
    text = at_home(example.text, tmp_path)
    if "htpasswd" not in text and "[[access]]" in text:  # a part that needs another one
        text += at_home('\n[auth]\nhtpasswd = "/etc/edgeproxy/users"\n', tmp_path)
    file = tmp_path / "edgeproxy.toml"
    file.write_text(text)
    words = [sys.executable, "-m", "edgeproxy", "check", "-c", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def test_queries_are_queries(tmp_path: Path) -> None:
    need("promtool")
    asked = [each.text for each in examples() if each.language == "promql"]
    assert asked
    rules = [{"record": f"example:{place}", "expr": query} for place, query in enumerate(asked)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "examples", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
