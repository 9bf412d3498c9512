"""edgeproxy mirror"""

import ssl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import click

from edgeproxy.cli.client import NOT_REACHED, json_option, print_json
from edgeproxy.cli.options import config_option, configured
from edgeproxy.clients.answers import Finding
from edgeproxy.clients.check import check
from edgeproxy.clients.files import Changed, Outside, Tree
from edgeproxy.clients.mirror import CannotEdit, Mirror
from edgeproxy.clients.settings import CLIENTS, RESTARTS
from edgeproxy.oci.errors import NameInvalid, Refusal
from edgeproxy.oci.reference import Reference, parse_full, parse_registry

_IMAGE = "docker.io/library/busybox:latest"


def _url(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
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


def _authority(context: click.Context, parameter: click.Parameter, value: TextIO | None) -> str:
    text = value.read() if value is not None else ""
    try:
        ssl.create_default_context(cadata=text or None)
    except (ssl.SSLError, ValueError) as error:
        raise click.BadParameter(f"that is no certificate in PEM: {error}") from error
    return text


def _image(context: click.Context, parameter: click.Parameter, value: str) -> Reference:
    try:
        return parse_full(value)
    except Refusal as error:
        raise click.BadParameter(f"{error.message}; write registry/repository:tag, as in {_IMAGE}") from error


def _here(address: tuple[str, int], scheme: str = "http") -> str:
    """How what listens here is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{address[1]}"


@click.command()
@click.argument("client", type=click.Choice(list(CLIENTS)))
@config_option
@click.option("--url", callback=_url, help="The daemon, as the client reaches it; else as the configuration says.")
@click.option(
    "--ca", type=click.File(), callback=_authority,
    help="The certificate of the daemon's authority, PEM; each client gets a copy of it.",
)  # fmt: skip
@click.option(
    "--registry", "registries", multiple=True, callback=_registries,
    help="Only this one, and may be repeated; else all, or the best known for podman and CRI-O, which name each.",
)  # fmt: skip
@click.option(
    "--root", type=click.Path(file_okay=False, exists=True, path_type=Path), default="/", help="Of the files."
)
@click.option("--write", is_flag=True, help="Install it; what was there before is kept.")
@click.option("--undo", is_flag=True, help="Have all files as they were before.")
@click.option("--force", is_flag=True, help="Undo although a file was changed since.")
@click.option("--check", "checks", is_flag=True, help="Pull through it, and say what is wrong.")
@click.option(
    "--admin", callback=_url, help="For --check: the daemon's admin listener; else as the configuration says."
)
@json_option
@click.option("--image", default=_IMAGE, show_default=True, callback=_image, help="For --check: what is pulled.")
def mirror(
    client: str, file: Path | None, url: str | None, ca: str, registries: tuple[str, ...], root: Path, write: bool,
    undo: bool, force: bool, checks: bool, admin: str | None, as_json: bool, image: Reference,
) -> None:  # fmt: skip
    """Print, install or check the configuration with which CLIENT pulls through this proxy.

    A client that cannot reach the proxy falls back to the registry itself. Exit codes: 0 is fine, 1 is wrong, and said,
    2 is wrong use, 3 is a proxy that is not reached.
    """
    tree = Tree(root)
    try:
        if undo:
            _undone(tree.undo(client, force=force), as_json)
            return
        config = configured(file)
        url = url or _here(config.listen, "https" if config.tls.certificate else "http")
        target = Mirror(url, ca, registries)
        files = CLIENTS[client](target, tree.look)
        if write:
            _write(tree, client, files, as_json)
        elif as_json and not checks:
            print_json({"files": {str(path): text for path, text in files.items()}})
        elif not checks:
            click.echo("\n".join(f"# {path}\n{text}" for path, text in files.items()), nl=False)
    except (CannotEdit, Changed, Outside, OSError, UnicodeDecodeError) as error:
        raise click.ClickException(str(error)) from error
    if checks:
        _tell(check(client, target, tree, admin or _here(config.admin), image), as_json)


def _undone(paths: Iterable[object], as_json: bool) -> None:
    if as_json:
        return print_json({"undone": list(map(str, paths))})
    for path in paths:
        click.echo(f"{path}: as it was before")
    return None


def _write(tree: Tree, client: str, files: Mapping[str, str], as_json: bool) -> None:
    changed = tree.write(client, files)
    if as_json:
        return print_json({"written": list(map(str, changed)), "files": list(map(str, files))})
    click.echo("\n".join(f"{path}: {'written' if path in changed else 'as it should be'}" for path in files))
    if changed and client in RESTARTS:
        click.echo(f"now: {RESTARTS[client]}")
    return None


def _tell(findings: Sequence[Finding], as_json: bool) -> None:
    """Raises `Exit` with its code where one is wrong."""
    if as_json:
        print_json({"findings": [{"right": finding.right, "words": finding.words} for finding in findings]})
    for finding in () if as_json else findings:
        click.secho(f"{'right' if finding.right else 'wrong'}  {finding.words}", fg=None if finding.right else "red")
    if not all(finding.right for finding in findings):
        raise click.exceptions.Exit(1 if all(finding.reached for finding in findings) else NOT_REACHED)
