"""edgeproxy login and logout"""

import sys
from urllib.parse import quote

import click

from edgeproxy.cli.client import Admin, admin_option, json_option, print_json

_HUB = "docker.io"


@click.command()
@click.argument("registry", default=_HUB)
@click.option("-u", "--username", prompt=True, help="Asked for where it is not given.")
@click.option("--password-stdin", is_flag=True, help="Read the password, or token, from standard input.")
@admin_option
@json_option
def login(registry: str, username: str, password_stdin: bool, admin: str, as_json: bool) -> None:
    """Give the daemon a login at a registry: docker.io, or another one that it knows.

    It is tried before it is kept, and used from then on, after a restart, too. What it opens is private, until an [[access]] rule
    says who may have it.
    """  # noqa: E501
    password = sys.stdin.read().strip() if password_stdin else click.prompt("Password", hide_input=True)
    document = {"username": username, "password": password}
    found = Admin(admin).ask("PUT", f"/api/v1/logins/{quote(registry, safe='')}", document)
    if as_json:
        return print_json(found)
    for each in found["logins"]:
        click.echo(f"{each['registry']} is asked as {each['username']} from now on, at {each['host']}")
    return None


@click.command()
@click.argument("registry", default=_HUB)
@admin_option
@json_option
def logout(registry: str, admin: str, as_json: bool) -> None:
    """Have the daemon forget a login that it was given."""
    found = Admin(admin).ask("DELETE", f"/api/v1/logins/{quote(registry, safe='')}")
    if as_json:
        return print_json(found)
    click.echo(f"{registry}: {'the login is forgotten' if found['was'] else 'there was no login'}")
    return None
