"""The console script: its verbs, one file each, loaded when they are wanted."""

from importlib import import_module
from typing import Any

import click

from edgeproxy import __version__

_VERBS = {
    "serve": ("serve",),
    "check": ("check",),
    "status": ("status", "upstreams", "explain"),
    "login": ("login", "logout"),
    "prefetch": ("prefetch",),
    "contents": ("ls", "inspect", "pin", "unpin", "purge"),
    "verify": ("verify",),
    "layout": ("export", "import"),
    "mirror": ("mirror",),
    "train": ("train",),
    "replay": ("replay",),
}
"""By module."""
_MODULES = {verb: module for module, verbs in _VERBS.items() for verb in verbs}


class Verbs(click.Group):
    """Whoever asks how the cache does need not wait for what the daemon is made of to be loaded."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        loaded: Any = import_module(f"edgeproxy.cli.{module}")
        name = {"import": "import_"}.get(cmd_name, cmd_name)
        found: click.Command = getattr(loaded, name)
        return found


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeproxy")
def main() -> None:
    """An edge-caching, pull-through OCI registry."""


def verbs() -> dict[str, click.Command]:
    """All of them, by name."""
    context = click.Context(main)
    found = {name: main.get_command(context, name) for name in main.list_commands(context)}
    return {name: verb for name, verb in found.items() if verb is not None}
