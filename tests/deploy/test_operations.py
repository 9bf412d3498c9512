"""What the documentation tells operators to type and to watch is there."""

import re
from pathlib import Path

import click
import pytest

from edgeproxy.cli.main import verbs
from edgeproxy.config import Config
from tests.test_config import keys

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [
    DOCS / "operations.md",
    DOCS / "cli.md",
    DOCS / "clients.md",
    DOCS / "alternatives.md",
    DOCS.parent / "README.md",
    DOCS.parent / "deploy/README.md",
]


def commands(text: str) -> list[str]:
    """`edgeproxy verb …` in code, up to its end."""
    return re.findall(r"(?:`|\$ )(edgeproxy [a-z][^`\n#]*)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_is_one_with_its_options(page: Path) -> None:
    for command in commands(page.read_text()):
        verb, *words = command.split()[1:]
        found = verbs().get(verb)
        assert found is not None, command
        known = {option for each in found.params if isinstance(each, click.Option) for option in each.opts}
        options = {word.split("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*.*", word)}
        assert options <= known, command


def test_each_verb_is_listed_and_no_other() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (DOCS / "cli.md").read_text(), re.MULTILINE)
    listed = [name for row in rows for name in re.findall(r"`([a-z]+)", row)]
    assert set(listed) == set(verbs())


def test_each_metric_and_key_is_one() -> None:
    text = (DOCS / "operations.md").read_text()
    metrics = set(re.findall(r"`(edgeproxy_[a-z_]+)`", text))
    assert metrics <= set(re.findall(r"`(edgeproxy_[a-z_]+)`", (DOCS / "metrics.md").read_text()))
    known = set(keys(Config))
    named = {
        name for name in re.findall(r"`([a-z]+\.[a-z_]+)(?: = [^`]*)?`", text) if not name.endswith((".md", ".txt"))
    }
    assert named
    assert named <= known


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
