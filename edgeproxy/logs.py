"""Log lines on standard error: time, level, room, message; or the same as JSON, a document a line."""

import json
import logging
import sys
import time
from typing import Literal

Form = Literal["text", "json"]


def stamp(when: float) -> str:
    """UTC, to the millisecond (RFC 3339)."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(when))}.{int(when % 1 * 1000):03d}Z"


class _Text(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return stamp(record.created)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        document = {
            "time": stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def set_up(level: str, form: Form = "text") -> None:
    """`level` in logging's words; libraries speak from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("edgeproxy").setLevel(level.upper())


def write(lines: str) -> None:
    """Whole lines, among those of all others."""
    sys.stderr.write(lines)
    sys.stderr.flush()
