"""What all verbs have in common."""

import click
import pytest

from edgeproxy.cli.main import main


@pytest.mark.parametrize("verb", [verb for verb in main.commands if verb not in ("serve", "check")])
def test_each_speaks_json(verb: str) -> None:
    """`check` prints nothing else, and `serve` logs."""
    found = main.commands[verb]
    assert "--json" in {option for each in found.params if isinstance(each, click.Option) for option in each.opts}


@pytest.mark.parametrize("verb", main.commands)
def test_each_says_what_it_does(verb: str) -> None:
    assert main.commands[verb].get_short_help_str(200)
