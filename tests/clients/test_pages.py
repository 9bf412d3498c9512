"""What the documentation shows is what is printed."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeproxy.cli.main import main

PAGE = Path(__file__).parents[2] / "docs/clients.md"
EXAMPLES = re.findall(r"```console\n\$ edgeproxy (mirror [^\n]*)\n(.*?)```\n", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize(("command", "shown"), EXAMPLES)
def test_an_example_is_what_is_printed(tmp_path: Path, command: str, shown: str) -> None:
    done = CliRunner().invoke(main, [*command.split(), "--root", str(tmp_path)])
    assert (done.exit_code, done.output) == (0, shown)


def test_each_client_has_an_example() -> None:
    assert {command.split()[1] for command, _ in EXAMPLES} == {"containerd", "docker", "podman", "k3s"}


def test_what_is_said_is_explained() -> None:
    """Each finding of the table is in the words of the code."""
    source = "".join(file.read_text() for file in (PAGE.parents[1] / "edgeproxy/clients").glob("*.py"))
    said = re.findall(r"^\| ([^|]+) \|", PAGE.read_text().partition("| it says |")[2], re.MULTILINE)
    assert len(said) >= 10
    for words in said:
        for part in words.replace("`", "").split(", or no edgeproxy")[0].split(": docker"):
            assert part in source, words
