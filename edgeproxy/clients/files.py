"""Files of others, changed so that they can be had back byte for byte."""

import base64
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

_BACKUPS = "var/lib/edgeproxy-mirror"


class Changed(Exception):
    """A file is not as it was left: to undo what was written would undo more than that."""


class Outside(Exception):
    """A link leads out of the tree: on another root, it means another file."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files below a root: `/`, or an image's."""

    root: Path

    def look(self, path: str) -> str | None:
        """What a file says; `None` where there is none. Raises OSError, or UnicodeDecodeError."""
        try:
            return self._at(path).read_bytes().decode()  # as it is, ends of lines included
        except FileNotFoundError:
            return None

    def write(self, client: str, files: Mapping[str, str]) -> list[str]:
        """The paths that were changed; how all were before the first time is kept.

        Raises `Changed` or `Outside` with nothing done, or OSError.
        """
        backup = self._backup(client)
        kept = self._kept(client)
        changed = [path for path, text in files.items() if self.look(path) != text]
        self._refuse_changed([path for path in changed if path in kept["files"]], kept["files"], "--undo --force")
        for path in changed:
            text = files[path]
            if path not in kept["files"]:
                kept["files"][path] = self._now(path)
                kept["made"] += self._absent_above(path)
            kept["files"][path]["left"] = sha256(text.encode()).hexdigest()
            backup.parent.mkdir(parents=True, exist_ok=True)
            _replace(backup, json.dumps(kept, indent=1).encode(), 0o600)
            file = self._at(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            _replace(file, text.encode(), kept["files"][path]["mode"] or 0o644)
        return changed

    def undo(self, client: str, *, force: bool = False) -> list[str]:
        """The paths that are as they were before the first `write`. Raises `Changed` with nothing done, or OSError."""
        kept = self._kept(client)
        if not force:
            self._refuse_changed(kept["files"], kept["files"], "--force")
        for path, before in kept["files"].items():
            if before["content"] is None:
                self._at(path).unlink(missing_ok=True)
            else:
                _replace(self._at(path), base64.b64decode(before["content"]), before["mode"])
        for directory in sorted(set(kept["made"]), key=len, reverse=True):
            place = self._at(directory)
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        backup = self._backup(client)
        backup.unlink(missing_ok=True)
        if backup.parent.is_dir() and not any(backup.parent.iterdir()):
            backup.parent.rmdir()
        return list(kept["files"])

    def _refuse_changed(self, paths: Iterable[str], kept: Mapping[str, Any], despite: str) -> None:
        others = [path for path in paths if self._is_changed(path, kept[path])]
        if others:
            raise Changed(f"{', '.join(others)}: changed since it was written here; {despite} restores it nevertheless")

    def _is_changed(self, path: str, before: Mapping[str, Any]) -> bool:
        """Not where it is as it was left, nor where it is as it was before: an end in between left it so."""
        now = self._now(path)["content"]
        return now != before["content"] and (now is None or sha256(base64.b64decode(now)).hexdigest() != before["left"])

    def _at(self, path: str) -> Path:
        """Where a file is, links followed. Raises `Outside`."""
        root = self.root.resolve()
        file = (root / path.lstrip("/")).resolve()
        if not file.is_relative_to(root):
            raise Outside(f"{path} is a link to {file}, outside of {root}: edit that one, or make it a file")
        return file

    def _backup(self, client: str) -> Path:
        return self.root / _BACKUPS / f"{client}.json"

    def _kept(self, client: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._backup(client).read_text())
            return found
        except FileNotFoundError:
            return {"files": {}, "made": []}

    def _now(self, path: str) -> dict[str, Any]:
        file = self._at(path)
        if not file.exists():
            return {"content": None, "mode": None}
        return {"content": base64.b64encode(file.read_bytes()).decode(), "mode": file.stat().st_mode & 0o7777}

    def _absent_above(self, path: str) -> list[str]:
        """The directories that have to be made for a file."""
        above, found = Path("/" + path.lstrip("/")).parent, []
        while not self._at(str(above)).exists():
            found.append(str(above))
            above = above.parent
        return found


def _replace(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, with its owner where there is one."""
    aside = file.with_name(f".{file.name}.edgeproxy")
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:  # it may hold secrets
        new.write(content)
        new.flush()
        os.fsync(new.fileno())
    if file.exists():
        owner = file.stat()
        os.chown(aside, owner.st_uid, owner.st_gid)
    aside.chmod(mode)
    aside.replace(file)
