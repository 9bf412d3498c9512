"""The console script: its verbs, one file each."""

import click

from edgeproxy import __version__
from edgeproxy.cli.check import check
from edgeproxy.cli.contents import inspect, ls, pin, purge, unpin
from edgeproxy.cli.mirror import mirror
from edgeproxy.cli.prefetch import prefetch
from edgeproxy.cli.replay import replay
from edgeproxy.cli.serve import serve
from edgeproxy.cli.status import explain, status, upstreams
from edgeproxy.cli.train import train


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeproxy")
def main() -> None:
    """An edge-caching, pull-through OCI registry."""


for verb in (serve, check, status, upstreams, prefetch, ls, inspect, explain, pin, unpin, purge, mirror, train, replay):
    main.add_command(verb)
