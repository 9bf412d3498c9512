"""What all verbs have in common."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from edgeproxy.cli.main import main, verbs


@pytest.mark.parametrize("verb", [verb for verb in verbs() if verb not in ("serve", "check")])
def test_each_speaks_json(verb: str) -> None:
    """`check` prints nothing else, and `serve` logs."""
    found = verbs()[verb]
    assert "--json" in {option for each in found.params if isinstance(each, click.Option) for option in each.opts}


@pytest.mark.parametrize("verb", verbs())
def test_each_says_what_it_does(verb: str) -> None:
    assert verbs()[verb].get_short_help_str(200)


def test_the_list_of_verbs_is_whole() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    assert all(f"  {verb} " in done.output for verb in verbs())


def test_an_unknown_verb_is_wrong_use() -> None:
    done = CliRunner().invoke(main, ["prefech"])
    assert (done.exit_code, "No such command" in done.output) == (2, True)


def test_to_ask_the_daemon_takes_nothing_of_it() -> None:
    program = "import sys, edgeproxy.cli.contents, edgeproxy.cli.status; print({'aiohttp', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"
