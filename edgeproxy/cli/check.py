"""edgeproxy check"""

import json
from pathlib import Path

import click

from edgeproxy.cli.options import config_option, configured


@click.command()
@config_option
def check(file: Path | None) -> None:
    """Validate the configuration and print it as it takes effect, secrets blanked."""
    click.echo(json.dumps(configured(file).effective(), indent=2))
