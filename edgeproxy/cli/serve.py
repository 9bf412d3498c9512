"""edgeproxy serve"""

import asyncio
from pathlib import Path

import click

from edgeproxy import logs
from edgeproxy.cli.options import config_option, configured
from edgeproxy.listener import CannotStart
from edgeproxy.process import run


@click.command()
@config_option
def serve(file: Path | None) -> None:
    """Run the daemon until SIGTERM; SIGHUP reads the configuration again."""
    config = configured(file)
    logs.set_up(config.log_level, config.log_format)
    try:
        asyncio.run(run(config, lambda: configured(file)))
    except CannotStart as error:
        raise click.ClickException(str(error)) from error
