"""TOML of others with a line more, every other byte as it was: an edit is believed when the parser agrees."""

import io
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from edgeproxy.clients.mirror import CannotEdit

Table = dict[str, Any]


def parsed(text: str, path: str) -> Table:
    """Raises `CannotEdit`."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CannotEdit(f"{path} is no TOML: {error}; mend it, or move it away") from error


def under(document: Table, keys: Sequence[str]) -> Table:
    """The table with these keys; an empty one where there is none."""
    for key in keys:
        found = document.get(key)
        document = found if isinstance(found, dict) else {}
    return document


def with_value(text: str, path: str, keys: Sequence[str], key: str, value: str) -> str:
    """`text` with `key = "value"` in the table `keys`. Raises `CannotEdit` where that takes more than a line."""
    for candidate in _candidates(text, keys, key, f'{key} = "{value}"'):
        try:
            after = tomllib.loads(candidate)
        except tomllib.TOMLDecodeError:
            continue
        if under(after, keys).get(key) == value and _only_adds(tomllib.loads(text), after, [*keys, key]):
            return candidate
    raise CannotEdit(f'{path} is written in an unusual way: add {key} = "{value}" to [{_written(keys)}] by hand')


def with_first_host(text: str, path: str, url: str, block: str) -> str:
    """A hosts.toml with this block before all other hosts: they are tried in their order. Raises `CannotEdit`."""
    if url in under(parsed(text, path), ["host"]):
        raise CannotEdit(f'{path} has a [host."{url}"] that was not written here: remove it, then try again')
    lines = _lines(text)
    place = next((place for place, line in enumerate(lines) if _header(line)[:1] == ("host",)), len(lines))
    before = "".join(lines[:place])
    gap = "" if not before or before.endswith("\n") else _line_end(text)
    written = before + gap + block.replace("\n", _line_end(text)) + "".join(lines[place:])
    try:
        if next(iter(under(tomllib.loads(written), ["host"])), "") == url:
            return written
    except tomllib.TOMLDecodeError:
        pass
    raise CannotEdit(f"{path} is written in an unusual way: put this before its other hosts by hand\n{block}")


def _candidates(text: str, keys: Sequence[str], key: str, said: str) -> Iterator[str]:
    """In place of an empty value, as the first line of the table, and as a table of its own at the end."""
    end, lines = _line_end(text), _lines(text)
    for place in (place for place, line in enumerate(lines) if _header(line) == tuple(keys)):
        following = next((later for later in range(place + 1, len(lines)) if _header(lines[later])), len(lines))
        for later in range(place + 1, following):
            name, _, _ = lines[later].partition("=")
            if name.strip() == key:
                indent = name[: len(name) - len(name.lstrip())]
                yield "".join([*lines[:later], f"{indent}{said}{end}", *lines[later + 1 :]])
        opened = lines[place] if lines[place].endswith("\n") else lines[place] + end
        yield "".join([*lines[:place], opened, f"  {said}{end}", *lines[place + 1 :]])
    gap = "" if not text else end if text.endswith("\n") else end * 2
    yield f"{text}{gap}[{_written(keys)}]{end}  {said}{end}"


def _only_adds(before: Table, after: Table, keys: Sequence[str]) -> bool:
    """Whether nothing but the value under `keys`, and the tables on the way to it, is new."""
    first, *rest = keys
    others = {key: value for key, value in after.items() if key != first}
    if others != {key: value for key, value in before.items() if key != first}:
        return False
    return not rest or _only_adds(before.get(first, {}), after[first], rest)


def _header(line: str) -> tuple[str, ...]:
    """The keys of the table that a line opens, if it opens one: what stands in a long string may look like it."""
    if not line.lstrip().startswith("["):
        return ()
    try:
        opened: object = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    keys: list[str] = []
    while isinstance(opened, dict) and opened:
        key, opened = next(iter(opened.items()))
        keys.append(key)
    return tuple(keys)


def _written(keys: Sequence[str]) -> str:
    return ".".join(key if key.isidentifier() else f'"{key}"' for key in keys)


def _lines(text: str) -> list[str]:
    """Only at what TOML takes for the end of a line."""
    return list(io.StringIO(text, newline="\n"))


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
