"""edgeproxy status, edgeproxy upstreams and edgeproxy explain"""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click
from rich.console import Console
from rich.table import Table

from edgeproxy.cli.client import Admin, admin_option, json_option, print_json
from edgeproxy.cli.tables import print_table
from edgeproxy.cli.words import lasting, percent, sized

Document = Mapping[str, Any]


@click.command()
@admin_option
@json_option
def status(admin: str, as_json: bool) -> None:
    """What the cache saved, what is on its way, and what would leave next."""
    found = Admin(admin).ask("GET", "/api/v1/status")
    if as_json:
        return print_json(found)
    console = Console()
    today, cache = found["saved"]["days"][-1], found["cache"]
    state = found["trouble"] or ("offline" if found["offline"] else "up")
    rows = [
        ("daemon", f"{found['name']}, {state} for {lasting(max(1, found['now'] - found['started']))}"),
        ("saved today", f"[bold]{sized(found['saved']['today'])}[/] of {sized(today['served'])} served"),
        ("saved this month", sized(found["saved"]["month"])),
        ("hits today", f"{percent(today['hits'], today['requests'])} of {today['requests']:,} requests"),
        ("cache", f"{sized(cache['bytes'])} of {sized(cache['budget'])}; {sized(cache['disk_free'])} free on the disk"),
    ]
    if found["model"]:
        rows.append(("model", found["model"]["summary"]))
    grid = Table.grid(padding=(0, 2))
    for name, text in rows:
        grid.add_row(f"[dim]{name}[/]", text)
    console.print(grid)
    print_table(console, "on its way", ("what", "received", "of"), [
        (each["reference"], sized(each["received"]), sized(each["size"]) if each["size"] else "?")
        for each in found["flights"]
    ])  # fmt: skip
    print_table(console, "by repository", ("repository", "images", "bytes"), [
        (each["name"], str(each["images"]), sized(each["bytes"])) for each in found["repositories"]
    ])  # fmt: skip
    print_table(console, "would leave next", ("what", "bytes", "why"), [
        (each["name"], sized(each["bytes"]), each["reason"]) for each in found["evictions"]["next"][:5]
    ])  # fmt: skip
    return None


@click.command()
@admin_option
@json_option
def upstreams(admin: str, as_json: bool) -> None:
    """Who is asked for what, in which order, and how they did."""
    found = Admin(admin).ask("GET", "/api/v1/status")
    if as_json:
        return print_json({"upstreams": found["upstreams"]})
    rows = [
        (
            each["registry"],
            str(each["rank"]),
            each["name"],
            "not asked yet" if each["latency"] is None else lasting(each["latency"]),
            "" if each["rate"] is None else f"{sized(each['rate'])}/s",
            f"rests for {lasting(each['rests_until'] - found['now'])}" if each["rests_until"] else _granted(each),
        )
        for each in found["upstreams"]
    ]
    print_table(Console(), "", ("registry", "rank", "upstream", "latency", "rate", ""), rows)
    return None


def _granted(upstream: Document) -> str:
    return "" if upstream["remaining"] is None else f"{upstream['remaining']} of {upstream['limit']} requests left"


def _item(item: Document) -> tuple[str, ...]:
    state = "kept" if item["pinned"] else "here" if item["here"] else "not here"
    likely = item["chances"][-1] if item["chances"] else None
    again = f"{percent(likely['chance'], 1)} within {lasting(likely['within'])}" if likely else ""
    if likely and item["because"]:
        again += f" ({', '.join(item['because'])})"
    events = [
        f"{time.strftime('%H:%M', time.localtime(each['time']))} {each['what']} {each['detail']}"
        for each in item["history"]
    ]
    return item["digest"][:19], sized(item["bytes"]), state, again, "; ".join(events[-2:])


@click.command()
@click.argument("what")
@admin_option
@json_option
def explain(what: str, admin: str, as_json: bool) -> None:
    """Why an image is here, or is not, part by part; or what makes one blob or manifest stay or go.

    WHAT is an image, or a digest as it stands in a manifest: sha256:…
    """
    is_digest = "/" not in what and what.partition(":")[0] in ("sha256", "sha512")
    found = Admin(admin).ask("GET", f"/api/v1/explain?digest={what}" if is_digest else f"/api/v1/explain/{quote(what)}")
    if as_json:
        return print_json(found)
    console = Console()
    if not is_digest:
        rows = [_item(each) for each in found["items"]]
        print_table(console, found["image"], ("what", "bytes", "", "asked for again", "lately"), rows)
        return None
    for each in found["chances"]:
        console.print(f"asked for again within {lasting(each['within'])}: [bold]{percent(each['chance'], 1)}[/]")
    rows = [(each["feature"], f"{each['value']:.2f}", f"{each['weight']:+.2f}") for each in found["contributions"]]
    print_table(console, "", ("because of", "its value", "log-odds"), rows)
    console.print(f"[dim]{found['governs']} decides what leaves[/]")
    return None
