"""edgeproxy prefetch"""

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from edgeproxy.cli.client import Admin, admin_option, json_option, print_json

_EVERY = 0.5
_ENDED = ("done", "failed", "cancelled")
Document = Mapping[str, Any]


@click.command()
@click.argument("images", nargs=-1)
@click.option("-f", "--file", type=click.File(), help="Images, one a line; # begins a comment; - is standard input.")
@click.option("--platform", "platforms", multiple=True, help="Only this, as in linux/amd64; may be repeated.")
@click.option("--deadline", metavar="TIME", help="After which nothing more is brought: 2026-11-30T06:00:00Z.")
@click.option("--wait", is_flag=True, help="Until all is here or known to be missing; exit code 1 where some is.")
@click.option("--follow", metavar="ID", help="Wait for one that was begun before, instead.")
@admin_option
@json_option
def prefetch(
    images: Sequence[str], file: Any, platforms: Sequence[str], deadline: str | None, wait: bool, follow: str | None,
    admin: str, as_json: bool,
) -> None:  # fmt: skip
    """Bring IMAGES before anybody asks for them, at the leisure of those who do.

    The daemon goes on with it whatever becomes of this command, and after a restart of its own.
    """
    daemon = Admin(admin)
    names = [*images, *(line for line in map(_bare, file or ()) if line)]
    if bool(names) is bool(follow):
        raise click.UsageError("name images, or a file of them by -f; or one that runs by --follow")
    if follow:
        job = daemon.ask("GET", _path(follow))
    else:
        document = {"images": names, "platforms": [*platforms]}
        job = daemon.ask("POST", "/api/v1/prefetch", {**document, **({"deadline": deadline} if deadline else {})})
    if wait or follow:
        job = _waited(daemon, job, quiet=as_json)
    if as_json:
        print_json(job)
    elif wait or follow:
        _tell(job)
    else:
        click.echo(f"{job['id']}: {len(job['images'])} images; edgeproxy prefetch --follow {job['id']} waits for them")
    if job["state"] in ("failed", "cancelled"):
        raise click.exceptions.Exit(1)


def _bare(line: str) -> str:
    return line.partition("#")[0].strip()


def _path(name: str) -> str:
    return f"/api/v1/prefetch/{quote(name, safe='')}"


def _waited(daemon: Admin, job: Document, *, quiet: bool) -> Document:
    """The job when it has ended; on a terminal a bar for each image, and for each blob of them that is on its way."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal) as progress:
        blobs: dict[str, TaskID] = {}
        bars = [progress.add_task(image["name"], total=None, state="") for image in job["images"]]
        while job["state"] not in _ENDED:
            time.sleep(_EVERY)
            job = daemon.ask("GET", _path(job["id"]))
            _draw(progress, bars, job)
            if not progress.disable:
                _draw_blobs(progress, blobs, job, daemon.ask("GET", "/api/v1/status")["flights"])
    return job


def _draw(progress: Progress, bars: Sequence[TaskID], job: Document) -> None:
    for bar, image in zip(bars, job["images"], strict=True):
        progress.update(bar, completed=image["bytes"], total=image["size"] or None, state=image["state"])


def _draw_blobs(progress: Progress, blobs: dict[str, TaskID], job: Document, flights: Sequence[Document]) -> None:
    """Those of the job's repositories."""
    repositories = {image["name"].partition("@")[0].rpartition(":")[0] or image["name"] for image in job["images"]}
    coming = {each["reference"]: each for each in flights if each["reference"].partition("@")[0] in repositories}
    for gone in blobs.keys() - coming.keys():
        progress.remove_task(blobs.pop(gone))
    for name, flight in coming.items():
        if name not in blobs:
            blobs[name] = progress.add_task(f"  {name.rpartition('@')[2][:19]}", total=None, state="")
        progress.update(blobs[name], completed=flight["received"], total=flight["size"])


def _tell(job: Document) -> None:
    for image in job["images"]:
        colour = {"done": "green", "failed": "red"}.get(image["state"])
        what = f"{image['manifests']} manifests, {image['blobs']} blobs"
        click.echo(f"{click.style(image['state'], fg=colour)}  {image['name']}  {what}")
        for reason in image["missing"]:
            click.echo(f"        {reason}")
