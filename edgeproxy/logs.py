"""Log lines on standard error: time, level, room, message."""

import logging
import sys


def set_up(level: str) -> None:
    """`level` in logging's words; libraries speak from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("edgeproxy").setLevel(level.upper())
