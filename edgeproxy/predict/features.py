"""What the model sees of an object at a moment: one row of numbers, the same in training, serving and replay.

Spans of time are log2 of 1 + seconds; what never happened is `NEVER` seconds ago. Nothing is absent from a row.
"""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from edgeproxy.predict.ledger import SLOWEST, Ledger
from edgeproxy.predict.table import ORIGIN, Slots, Table

VERSION = 1
"""Changes with the meaning of any number in a row: a model reads the features it was fitted on, and no others."""
NEVER = 2.0**28
Rows = NDArray[np.float32]

NAMES = (
    "size",  # log2 of its bytes
    "kind",  # 0 layer, 1 configuration, 2 manifest, 3 index
    "age",  # since it was asked for
    "known",  # since it was first heard of
    "gap",  # between the last two requests
    "lull1",  # from the last burst of requests to the one before, begin to begin
    "lull2",  # the one before
    "lull3",
    "burst",  # log2 of 1 + requests in the last burst
    "fast",  # log2 of 1 + requests, halved every 1.5 hours
    "middle",  # every 12 hours
    "slow",  # every 4 days
    "uses",  # log2 of 1 + requests ever
    "due",  # time since the last burst began, less `lull1` (both log2): a job's next run is near 0
    "steady",  # difference of `lull1` and `lull2`: near 0 for what recurs
    "named_age",  # since a manifest that names it was asked for, whether or not the client lacked it
    "quiet",  # before the last burst of such requests
    "named",  # log2 of 1 + such requests, halved every 12 hours
    "often",  # every 4 days
    "waiting",  # `age` less `named_age`: above 0, an image was asked for and this part of it not
    "images",  # how many known manifests name it
    "current",  # how many lines' newest release needs it
    "left",  # since the last of these let go of it
    "lag",  # releases of its line since the newest that has it
    "released",  # since the newest image that has it came out
    "place",  # position in the image, from its configuration on
    "parts",  # of that image
    "line_middle",  # log2 of 1 + pulls of any release of its line, halved every 12 hours
    "line_slow",  # every 4 days
    "line_age",  # since any release of its line was pulled
    "line_released",  # since the newest release of its line
    "rhythm",  # time between releases of its line
    "overdue",  # `line_released` less `rhythm`
    "crowd",  # about how many clients have asked for it
    "line_crowd",  # and for the newest release of its line
    "left_to_come",  # clients of the former release that have not asked for the newest one
    "lacking",  # clients of the line's last two releases that have not asked for this
    "cold",  # whether the last client mostly asks for what nobody wants: a scanner, a backup
    "moves",  # repositories that client visited within an hour
    "regular",  # share of requests by clients that are not such
    "hour",  # of the day, UTC
    "weekday",  # 0 Monday
)

_PLACES = {name: place for place, name in enumerate(NAMES)}


def rows(ledger: Ledger, slots: Slots, now: float) -> Rows:
    """One row for each slot, as they are at `now`."""
    objects, at = ledger.objects, now + ORIGIN
    columns = [*_own(objects, slots, at), *_images(objects, slots, at), *_line(ledger, slots, at)]
    columns += [*_clients(objects, slots), *_moment(len(slots), now)]
    found = np.empty((len(NAMES), len(slots)), np.float32)
    for name, column in columns:
        found[_PLACES[name]] = column
    return found.T


Column = tuple[str, NDArray[np.float64]]


def _span(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log2(1.0 + _never_at_most(seconds))


def _never_at_most(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.minimum(np.maximum(seconds, 0.0), NEVER)  # a third of the time of `clip`


def _lull(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return _span(np.where(seconds > 0, seconds, NEVER))


def _own(objects: Table, slots: Slots, now: float) -> list[Column]:
    get = objects.get
    since = _never_at_most(now - get("last", slots))
    slow = np.exp2(-since / SLOWEST)
    lull1, lull2 = _lull(get("lull1", slots)), _lull(get("lull2", slots))
    return [
        ("size", np.log2(1.0 + get("size", slots))),
        ("kind", get("kind", slots)),
        ("age", _span(since)),
        ("known", _span(now - get("first", slots))),
        ("gap", _lull(get("gap", slots))),
        ("lull1", lull1),
        ("lull2", lull2),
        ("lull3", _lull(get("lull3", slots))),
        ("burst", np.log2(1.0 + get("burst", slots))),
        ("fast", np.log2(1.0 + get("fast", slots) * slow**64)),
        ("middle", np.log2(1.0 + get("middle", slots) * slow**8)),
        ("slow", np.log2(1.0 + get("slow", slots) * slow)),
        ("uses", np.log2(1.0 + get("uses", slots))),
        ("due", _span(now - get("start", slots)) - lull1),
        ("steady", np.abs(lull1 - lull2)),
    ]


def _images(objects: Table, slots: Slots, now: float) -> list[Column]:
    get = objects.get
    since = _never_at_most(now - get("mentioned", slots))
    slow = np.exp2(-since / SLOWEST)
    named_age = _span(since)
    return [
        ("named_age", named_age),
        ("quiet", _lull(get("quiet", slots))),
        ("named", np.log2(1.0 + get("named", slots) * slow**8)),
        ("often", np.log2(1.0 + get("often", slots) * slow)),
        ("waiting", _span(now - get("last", slots)) - named_age),
        ("images", np.log2(1.0 + get("images", slots))),
        ("current", get("current", slots)),
        ("left", _span(now - get("left", slots))),
        ("released", _span(now - get("released", slots))),
        ("place", get("place", slots)),
        ("parts", get("parts", slots)),
    ]


def _line(ledger: Ledger, slots: Slots, now: float) -> list[Column]:
    line = ledger.objects.get("line", slots).astype(np.intp)
    known = line >= 0
    if not len(ledger.lines):
        known[:] = False
        return [(name, np.zeros(len(slots))) for name in _LINE]
    safe = np.where(known, line, 0)
    get = ledger.lines.get
    since = _never_at_most(now - get("last", safe))
    slow = np.exp2(-since / SLOWEST)
    released, rhythm = _span(now - get("released", safe)), _lull(get("rhythm", safe))
    own, crowd, former = (
        ledger.objects.bits("crowd", slots), ledger.lines.bits("crowd", safe), ledger.lines.bits("former", safe),
    )  # fmt: skip
    columns = (
        get("releases", safe) - ledger.objects.get("release", slots),
        np.log2(1.0 + get("middle", safe) * slow**8),
        np.log2(1.0 + get("slow", safe) * slow),
        _span(since),
        released,
        rhythm,
        released - rhythm,
        counted(crowd),
        counted(former & ~crowd),
        counted((former | crowd) & ~own),
    )
    return [(name, np.where(known, column, -1.0)) for name, column in zip(_LINE, columns, strict=True)]


_LINE = (
    "lag", "line_middle", "line_slow", "line_age", "line_released", "rhythm", "overdue", "line_crowd", "left_to_come",
    "lacking",
)  # fmt: skip


def _clients(objects: Table, slots: Slots) -> list[Column]:
    get = objects.get
    return [
        ("crowd", counted(objects.bits("crowd", slots))),
        ("cold", get("cold", slots)),
        ("moves", np.log2(1.0 + get("moves", slots))),
        ("regular", get("regular", slots) / np.maximum(1.0, get("uses", slots))),
    ]


def counted(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """How many different clients left these bits, each one of 64 (linear counting); 266 at most."""
    empty = np.maximum(0.5, 64.0 - np.bitwise_count(bits))
    return np.log2(1.0 + 64.0 * np.log(64.0 / empty))


def _moment(count: int, now: float) -> list[Column]:
    moment = datetime.fromtimestamp(now, UTC)
    hour = moment.hour + moment.minute / 60.0
    return [("hour", np.full(count, hour)), ("weekday", np.full(count, float(moment.weekday())))]
