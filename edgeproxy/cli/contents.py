"""edgeproxy ls, inspect, pin, unpin and purge"""

import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import click
from rich.console import Console

from edgeproxy.cli.client import Admin, admin_option, json_option, print_json
from edgeproxy.cli.tables import print_table
from edgeproxy.cli.words import lasting, percent, sized, times

Document = Mapping[str, Any]
_PAGE = 500


@click.command()
@click.argument("match", default="*")
@admin_option
@json_option
def ls(match: str, admin: str, as_json: bool) -> None:
    """The images that are here; MATCH is a shell pattern, as in 'docker.io/library/*'."""
    daemon, images = Admin(admin), list[Document]()
    while True:
        query = urlencode({"match": match, "limit": _PAGE, "after": images[-1]["name"] if images else ""})
        page = daemon.ask("GET", f"/api/v1/images?{query}")["images"]
        images += page
        if len(page) < _PAGE:
            break
    if as_json:
        return print_json({"images": images})
    rows = [(each["name"], sized(each["bytes"]), _whole(each["missing"]), _kept(each)) for each in images]
    print_table(Console(), "", ("image", "bytes", "", ""), rows)
    return None


@click.command()
@click.argument("image")
@admin_option
@json_option
def inspect(image: str, admin: str, as_json: bool) -> None:
    """What is here of an image, by platform; who used it, until when it is fresh, and what the model thinks of it."""
    found = Admin(admin).ask("GET", f"/api/v1/images/{quote(image)}")
    if as_json:
        return print_json(found)
    for line in _about(found, time.time()):
        click.echo(line)
    rows = [
        (each["platform"] or "one platform", each["digest"], sized(each["bytes"]), _whole(len(each["missing"])))
        for each in found["parts"]
    ]
    print_table(Console(), found["image"], ("platform", "manifest", "bytes", ""), rows)
    return None


@click.command()
@click.argument("image")
@admin_option
@json_option
def pin(image: str, admin: str, as_json: bool) -> None:
    """Keep an image, as it is now, however little room there is."""
    _pinned("PUT", image, admin, as_json)


@click.command()
@click.argument("image")
@admin_option
@json_option
def unpin(image: str, admin: str, as_json: bool) -> None:
    """Let an image go when others need its room more."""
    _pinned("DELETE", image, admin, as_json)


def _about(image: Document, now: float) -> Iterator[str]:
    if image["used"] is None:
        yield "its manifest is not here"
    else:
        count = image["clients"]
        clients = f", by about {count} client{'s' if count > 1 else ''}" if count else ""
        yield f"used {times(image['uses'])}{clients}; the last time {lasting(max(1, now - image['used']))} ago"
    if image["pushed"]:
        yield "pushed here: upstream is not asked about its tag"
    elif image["checked"] is not None:
        left = image["fresh_for"]
        fresh = "asked again at the next pull" if left is None or left <= 0 else f"fresh for {lasting(left)}"
        yield f"upstream was asked {lasting(max(1, now - image['checked']))} ago what the tag names; {fresh}"
    if image["pinned"]:
        yield "kept, whatever needs the room"
    if image["stays_for"] is not None:
        yield f"goes in {lasting(max(1, image['stays_for']))} unless it is asked for, however much room there is"
    if image["chances"]:
        told = (f"{percent(each['chance'], 1)} within {lasting(each['within'])}" for each in image["chances"])
        yield f"asked for again: {', '.join(told)}"


def _pinned(method: str, image: str, admin: str, as_json: bool) -> None:
    found = Admin(admin).ask(method, f"/api/v1/pins/{quote(image)}")
    if as_json:
        print_json(found)
    else:
        click.echo(f"{found['image']} is {'kept' if found['pinned'] else 'kept no longer'}: {found['digest']}")


@click.command()
@click.argument("match")
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would go.")
@admin_option
@json_option
def purge(match: str, dry: bool, admin: str, as_json: bool) -> None:
    """Delete the images that MATCH a shell pattern, with what only they need. What is pinned or pushed here stays."""
    found = Admin(admin).ask("POST", "/api/v1/purge", {"match": match, "dry": dry})
    if as_json:
        return print_json(found)
    for name in found["images"]:
        click.echo(name)
    click.echo(f"{sized(found['bytes'])} {'would be' if dry else 'are'} free")
    return None


def _whole(missing: int) -> str:
    return "whole" if not missing else f"{missing} missing"


def _kept(image: Document) -> str:
    return "pinned" if image["pinned"] else "pushed here" if image["pushed"] else ""
