"""What of a blob has arrived, in the words of the field `Edgeproxy-Held`: `0-4194303,8388608-10485759`.

On the wire the last byte is included; everywhere else a range is from its start up to but without its stop.
"""

import re
from collections.abc import Iterable

from edgeproxy.oci.errors import RequestInvalid

_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")
_LONGEST = 4096
"""Characters that are told, and read: what is not told is sent once more, and does no harm."""


def held(spans: Iterable[tuple[int, int]]) -> str:
    """Empty where nothing is held. Of very many spans the first, so that it fits into a header."""
    text = ""
    for start, stop in spans:
        longer = f"{text},{start}-{stop - 1}" if text else f"{start}-{stop - 1}"
        if len(longer) > _LONGEST:
            break
        text = longer
    return text


def parse_held(text: str) -> list[tuple[int, int]]:
    """As it was said: in any order, and not joined. Raises `RequestInvalid`."""
    if len(text) > _LONGEST:
        raise RequestInvalid(f"{text[:80]!r}… says more of what is held than {_LONGEST} characters")
    return [_range(item.strip()) for item in text.split(",")] if text.strip() else []


def _range(item: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(item)
    if not found or int(found[1]) > int(found[2]):
        raise RequestInvalid(
            f"{item[:80]!r} is no range of what is held: write the first and the last byte, as in 0-99"
        )
    return int(found[1]), int(found[2]) + 1
