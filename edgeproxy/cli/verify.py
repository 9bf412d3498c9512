"""edgeproxy verify"""

import time

import click

from edgeproxy.cli.client import Admin, admin_option, json_option, print_json
from edgeproxy.cli.words import sized

_EVERY = 0.3


@click.command()
@admin_option
@json_option
def verify(admin: str, as_json: bool) -> None:
    """Hash all that is held again; what is wrong is put aside and fetched anew. Exit code 1 where something was."""
    daemon = Admin(admin)
    daemon.ask("POST", "/api/v1/verify")
    time.sleep(_EVERY)
    while (found := daemon.ask("GET", "/api/v1/verify"))["running"]:
        time.sleep(_EVERY)
    if as_json:
        print_json(found)
    else:
        for digest in found["bad"]:
            fate = "fetched anew" if digest in found["again"] else "nobody has it any more"
            click.echo(f"{digest} was wrong: {fate}")
        click.echo(f"{found['blobs']} blobs, {sized(found['bytes'])}: {len(found['bad'])} were wrong")
    if found["bad"]:
        raise click.exceptions.Exit(1)
