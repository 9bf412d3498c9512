"""edgeproxy check"""

import json
from pathlib import Path

import click

from edgeproxy.cli.options import config_option, configured
from edgeproxy.tls import doubt


@click.command()
@config_option
def check(file: Path | None) -> None:
    """Validate the configuration and print it as it takes effect, secrets blanked."""
    config = configured(file)
    if (encryption := config.tls.encryption()) is not None and (doubted := doubt(encryption)):
        click.echo(f"warning: tls.certificate: clients will not believe {encryption.certificate}: {doubted}", err=True)
    click.echo(json.dumps(config.effective(), indent=2))
