"""edgeproxy mirror"""

from pathlib import Path
from typing import TextIO

import click

from edgeproxy.clients.check import check
from edgeproxy.clients.files import Changed, Outside, Tree
from edgeproxy.clients.mirror import CannotEdit, Mirror
from edgeproxy.clients.settings import CLIENTS, RESTARTS
from edgeproxy.oci.errors import NameInvalid
from edgeproxy.oci.reference import parse_registry


def _url(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.startswith(("http://", "https://")) or not value.split("//")[1].strip("/"):
        raise click.BadParameter(f"{value!r} is no address: write http://edge:5000")
    if "/" in value.split("//")[1].rstrip("/"):
        raise click.BadParameter(f"{value!r} has a path: clients add their own; write http://edge:5000")
    return value.rstrip("/")


def _registries(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(parse_registry(name) for name in value))
    except NameInvalid as error:
        raise click.BadParameter(error.message) from error


@click.command()
@click.argument("client", type=click.Choice(list(CLIENTS)))
@click.option(
    "--url",
    default="http://127.0.0.1:5000",
    show_default=True,
    callback=_url,
    help="The daemon, as the client reaches it.",
)
@click.option(
    "--ca", type=click.File(), help="The certificate of the daemon's authority, PEM; each client gets a copy of it."
)
@click.option(
    "--registry",
    "registries",
    multiple=True,
    callback=_registries,
    help="Only this one, and may be repeated; else all, or the best known for podman and CRI-O, which name each.",
)
@click.option(
    "--root", type=click.Path(file_okay=False, exists=True, path_type=Path), default="/", help="Of the files."
)
@click.option("--write", is_flag=True, help="Install it; what was there before is kept.")
@click.option("--undo", is_flag=True, help="Have all files as they were before.")
@click.option("--force", is_flag=True, help="Undo although a file was changed since.")
@click.option("--check", "checks", is_flag=True, help="Pull through it, and say what is wrong.")
@click.option(
    "--admin",
    default="http://127.0.0.1:5001",
    show_default=True,
    callback=_url,
    help="For --check: the daemon's admin listener.",
)
@click.option(
    "--image", default="docker.io/library/busybox:latest", show_default=True, help="For --check: what is pulled."
)
def mirror(
    client: str, url: str, ca: TextIO | None, registries: tuple[str, ...], root: Path, write: bool, undo: bool,
    force: bool, checks: bool, admin: str, image: str,
) -> None:  # fmt: skip
    """Print, install or check the configuration with which CLIENT pulls through this proxy.

    A client that cannot reach the proxy falls back to the registry itself. Exit code 1: something is wrong, and said.
    """
    target, tree = Mirror(url, ca.read() if ca else "", registries), Tree(root)
    try:
        if undo:
            for path in tree.undo(client, force=force):
                click.echo(f"{path}: as it was before")
            return
        files = CLIENTS[client](target, tree.look)
        if write:
            changed = tree.write(client, files)
            click.echo("\n".join(f"{path}: {'written' if path in changed else 'as it should be'}" for path in files))
            if changed and client in RESTARTS:
                click.echo(f"now: {RESTARTS[client]}")
        elif not checks:
            click.echo("\n".join(f"# {path}\n{text}" for path, text in files.items()), nl=False)
    except (CannotEdit, Changed, Outside, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    if checks:
        findings = check(client, target, tree, admin, image)
        for finding in findings:
            click.secho(
                f"{'right' if finding.right else 'wrong'}  {finding.words}", fg=None if finding.right else "red"
            )
        if not all(finding.right for finding in findings):
            raise click.exceptions.Exit(1)
