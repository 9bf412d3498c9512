"""PYTHON replayed.py TRACE POLICY BUDGET FIRST: what a policy of libcachesim misses, as JSON, after the warm-up.

Run by an interpreter that has libcachesim; the standard library beside, and nothing of edgeproxy. TRACE is arrays of
`time id size` one after the other, of machine integers; `FIRST` is the number of the first request that counts.
"""

import json
import sys
from array import array
from pathlib import Path
from typing import Any

_HASHPOWER = 20


def main(trace: str, policy: str, budget: str, first: str) -> None:
    import libcachesim  # type: ignore[import-not-found, unused-ignore]  # not of this project, and never needed by it

    columns = array("q")
    columns.frombytes(Path(trace).read_bytes())
    count = len(columns) // 3
    times, names, sizes = (columns[part * count : (part + 1) * count] for part in range(3))
    cache = getattr(libcachesim, policy)(cache_size=int(budget), hashpower=_HASHPOWER)
    print(json.dumps(_missed(cache, libcachesim.Request(), zip(times, names, sizes, strict=True), int(first))))


def _missed(cache: Any, request: Any, requests: Any, first: int) -> dict[str, float]:
    """Shares of the requests, and of their bytes, from the request of number `first` on."""
    asked = missed = asked_bytes = missed_bytes = 0
    get = cache.get
    for number, (time, name, size) in enumerate(requests):
        request.clock_time, request.obj_id, request.obj_size = time, name, size
        had = get(request)
        if number >= first:
            asked, asked_bytes = asked + 1, asked_bytes + size
            if not had:
                missed, missed_bytes = missed + 1, missed_bytes + size
    return {"requests": missed / max(1, asked), "bytes": missed_bytes / max(1, asked_bytes)}


if __name__ == "__main__":
    main(*sys.argv[1:])
