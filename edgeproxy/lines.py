"""Where a key stands in a TOML document."""

import re
from collections.abc import Sequence


def line_of(path: Sequence[str | int], text: str) -> int | None:
    """The line of a key: tomllib does not tell, so headers and keys are followed line by line."""
    header: list[str | int] = []
    counts: dict[str, int] = {}
    best = None
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[(\[?)\s*([^\]]+?)\s*\]", line):
            header = list(_words(found[2]))
            if found[1]:
                counts[found[2]] = counts.get(found[2], -1) + 1
                header.append(counts[found[2]])
            if header == list(path)[: len(header)]:
                best = number
        elif (found := re.match(r"\s*([^=#\s]+)\s*=", line)) and [*header, *_words(found[1])] == list(path)[
            : len(header) + len(_words(found[1]))
        ]:
            return number
    return best


def _words(dotted: str) -> list[str]:
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([^.\s"]+)', dotted)]
