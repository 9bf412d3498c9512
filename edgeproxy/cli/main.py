"""The console script: its verbs, one file each."""

import click

from edgeproxy import __version__
from edgeproxy.cli.check import check
from edgeproxy.cli.contents import inspect, ls, pin, purge, unpin
from edgeproxy.cli.layout import export, import_
from edgeproxy.cli.login import login, logout
from edgeproxy.cli.mirror import mirror
from edgeproxy.cli.prefetch import prefetch
from edgeproxy.cli.replay import replay
from edgeproxy.cli.serve import serve
from edgeproxy.cli.status import explain, status, upstreams
from edgeproxy.cli.train import train
from edgeproxy.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeproxy")
def main() -> None:
    """An edge-caching, pull-through OCI registry."""


_RUNS = (serve, check, status, upstreams, login, logout)
_CONTENTS = (prefetch, ls, inspect, explain, pin, unpin, purge, verify, export, import_)
for verb in (*_RUNS, *_CONTENTS, mirror, train, replay):
    main.add_command(verb)
