"""What several verbs are told."""

import os
from pathlib import Path

import click

from edgeproxy.config import Config, load
from edgeproxy.sections import ConfigError

config_option = click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="EDGEPROXY_CONFIG",
    help="The configuration; without one every key has its default.",
)


def configured(file: Path | None) -> Config:
    """Raises `click.UsageError`, exit code 2, for a configuration that is wrong."""
    try:
        return load(file, os.environ)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
