"""A fitted model: boosted trees for several horizons, as flat arrays with a checksum; loading runs no code of it.

The file: `MAGIC`, then SHA-256 of all that follows, then a header of six little-endian numbers (format, features'
version, features, outputs, trees, nodes), the length of a JSON object about its making, that object, and the arrays.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeproxy.predict import features
from edgeproxy.predict.features import Rows
from edgeproxy.predict.forest import HEAVIEST, Forest, Trees

MAGIC = b"edgeproxy model\n"
FORMAT = 1
LARGEST = 16 * 1024 * 1024
"""Bytes; a model has some hundred thousand."""
_SUREST = 30.0
"""Log-odds beyond which nothing is told apart."""
_HEADER = struct.Struct("<6II")
_CHECKED = len(MAGIC) + hashlib.sha256().digest_size
_TREES, _NODES, _OUTPUTS, _ABOUT = 4096, 1 << 18, 16, 1 << 16


@dataclass(frozen=True)
class Model:
    """For each of `horizons` (seconds, rising): how likely something is asked for again within it."""

    horizons: tuple[float, ...]
    baselines: NDArray[np.float64]
    trees: Trees
    about: Mapping[str, Any]
    """What it was fitted on, and how well it did; JSON."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_forest", Forest(self.trees, len(features.NAMES), len(self.horizons)))

    def chances(self, rows: Rows) -> NDArray[np.float64]:
        """One row of probabilities for each of `rows`, one column for each horizon."""
        forest: Forest = self._forest  # type: ignore[attr-defined]
        return 1.0 / (1.0 + np.exp(-np.clip(forest.sums(rows) + self.baselines, -_SUREST, _SUREST)))

    def explain(self, row: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The chances of one row, and what each feature adds to the log-odds of the middle horizon.

        A feature's part is what is lost where it is ordinary instead, as it was for half of the rows fitted on.
        """
        ordinary = np.asarray(self.about.get("ordinary", np.zeros(len(row))), np.float32)
        changed = np.repeat(row[None, :], len(row) + 1, axis=0)
        places = np.arange(len(row))
        changed[places + 1, places] = ordinary
        forest: Forest = self._forest  # type: ignore[attr-defined]
        sums = forest.sums(changed)[:, len(self.horizons) // 2]
        return self.chances(row[None, :])[0], sums[0] - sums[1:]

    def dump(self) -> bytes:
        about = json.dumps(dict(self.about), sort_keys=True, separators=(",", ":")).encode()
        trees = self.trees
        header = _HEADER.pack(
            FORMAT, features.VERSION, len(features.NAMES), len(self.horizons), len(trees.outputs), len(trees.feature),
            len(about),
        )  # fmt: skip
        arrays = [np.asarray(self.horizons, "<f8"), self.baselines.astype("<f8")]
        arrays += [column.astype(code) for column, code in zip(trees, _CODES, strict=True)]
        body = b"".join([header, about, *(column.tobytes() for column in arrays)])
        return MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def load(cls, content: bytes) -> Self:
        """What `dump` made. Raises ValueError that says why it cannot be used; never anything else."""
        if len(content) > LARGEST:
            raise ValueError(f"{len(content)} bytes are no model: {LARGEST} at most")
        if not content.startswith(MAGIC) or len(content) < _CHECKED + _HEADER.size:
            raise ValueError("this is no edgeproxy model")
        body = content[_CHECKED:]
        if hashlib.sha256(body).digest() != content[len(MAGIC) : _CHECKED]:
            raise ValueError("the model is damaged: its checksum is wrong")
        return cls._read(body)

    @classmethod
    def _read(cls, body: bytes) -> Self:
        form, version, width, outputs, trees, nodes, about = _HEADER.unpack_from(body)
        if form != FORMAT:
            raise ValueError(f"the model's format is {form}, this release reads {FORMAT}: train a new one")
        if version != features.VERSION or width != len(features.NAMES):
            raise ValueError(
                f"the model reads features {version}, this release has {features.VERSION}: train a new one"
            )
        if not (1 <= outputs <= _OUTPUTS and 1 <= trees <= _TREES and trees <= nodes <= _NODES and about <= _ABOUT):
            raise ValueError("the model is larger than any model is")
        lengths = (outputs, outputs, trees, trees, nodes, nodes, nodes, nodes, nodes)
        codes = ("<f8", "<f8", *_CODES)
        at = _HEADER.size + about
        expected = at + sum(count * np.dtype(code).itemsize for count, code in zip(lengths, codes, strict=True))
        if len(body) != expected:
            raise ValueError(f"the model has {len(body)} bytes after its checksum and should have {expected}")
        columns = []
        for count, code in zip(lengths, codes, strict=True):
            columns.append(np.frombuffer(body, code, count, at))
            at += columns[-1].nbytes
        horizons, baselines = columns[0], columns[1]
        if not (np.isfinite(horizons).all() and (horizons > 0).all() and (np.diff(horizons) > 0).all()):
            raise ValueError("the model's horizons do not rise")
        if not (np.abs(baselines) <= HEAVIEST).all():
            raise ValueError("the model's baselines are not log-odds")
        forest = Trees(*columns[2:])
        forest.check(width, outputs)
        said = _about(body[_HEADER.size : _HEADER.size + about], width)
        return cls(tuple(horizons.tolist()), baselines, forest, said)


_CODES = ("<u1", "<u4", "<i2", "<f8", "<u2", "<u2", "<f8")
"""Of the columns of `Trees`."""


def _about(text: bytes, width: int) -> Mapping[str, Any]:
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"what the model says of itself is no JSON: {error}") from None
    if not isinstance(about, dict):
        raise ValueError("what the model says of itself is no JSON object")
    ordinary = about.get("ordinary", [0.0] * width)
    if not isinstance(ordinary, list) or len(ordinary) != width or not all(type(x) is float for x in ordinary):
        raise ValueError("what the model calls ordinary is no row")
    return about
