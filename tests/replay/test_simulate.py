"""What caches would have missed: against models that are too simple to be wrong."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.cli.main import main
from edgeproxy.predict.shadow import Lru
from edgeproxy.replay.baselines import Belady, Fifo, Sieve, following
from edgeproxy.replay.requests import trace
from edgeproxy.replay.simulate import POLICIES, compulsory, missed
from edgeproxy.replay.trace import happenings

KEYS = st.lists(st.integers(0, 12), min_size=1, max_size=120)
SIZES = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 20]
"""Of the keys; the last fits in no cache of these tests."""
BUDGET = 15
TEN = "".join(f"{second} object{second % 7} {100 + second % 7}\n" for second in range(0, 4000, 10))


def hits(cache: Fifo | Sieve | Belady | Lru, keys: Sequence[int], sizes: Sequence[int] = SIZES) -> list[bool]:
    found = []
    for place, key in enumerate(keys):
        found.append(cache.request(key, sizes[key], float(place)))
        held = [each for each in range(len(sizes)) if cache.holds(each)]
        assert sum(sizes[each] for each in held) <= BUDGET
        assert found[-1] <= cache.holds(key) or isinstance(cache, Belady)
    return found


@given(KEYS)
def test_first_in_first_out(keys: list[int]) -> None:
    held: list[int] = []
    expected = []
    for key in keys:
        expected.append(key in held)
        if key not in held and SIZES[key] <= BUDGET:
            held.append(key)
            while sum(SIZES[each] for each in held) > BUDGET:
                held.pop(0)
    assert hits(Fifo(BUDGET), keys) == expected


@given(KEYS)
def test_the_hand_passes_over_what_was_asked_for(keys: list[int]) -> None:
    """The oldest is the first of a plain list; the hand goes on where it stopped, and begins anew after the newest."""
    queue: list[int] = []
    visited: set[int] = set()
    hand, expected = 0, []
    for key in keys:
        expected.append(key in queue)
        if key in queue:
            visited.add(key)
            continue
        if SIZES[key] > BUDGET:
            continue
        while sum(SIZES[each] for each in queue) + SIZES[key] > BUDGET:
            while queue[hand] in visited:
                visited.remove(queue[hand])
                hand = (hand + 1) % len(queue)
            queue.pop(hand)
            hand = 0 if hand == len(queue) else hand
        queue.append(key)
    assert hits(Sieve(BUDGET), keys) == expected


@given(KEYS)
def test_who_knows_the_future_misses_least(keys: list[int]) -> None:
    alike = [1] * len(SIZES)
    best = sum(hits(Belady(BUDGET // 3, following(keys)), keys, alike))
    for other in (Lru(BUDGET // 3), Fifo(BUDGET // 3), Sieve(BUDGET // 3)):
        assert sum(hits(other, keys, alike)) <= best


def test_each_policy_is_replayed(tmp_path: Path) -> None:
    file = tmp_path / "trace"
    file.write_text(TEN)
    replayed = trace(happenings(file), warm=100.0)
    assert replayed.footprint == sum(range(100, 107))
    assert compulsory(replayed)[:2] == (0.0, 0.0)
    for policy in POLICIES:
        assert missed(replayed, policy, 1000)[:2] == (0.0, 0.0)  # all of it fits
        found = missed(replayed, policy, 300)
        assert 0.0 < found.requests <= 1.0
    assert missed(replayed, "lru", 300)[:2] == (1.0, 1.0)  # a loop is what it is worst at
    assert missed(replayed, "belady", 300).requests < 0.9


@pytest.mark.parametrize("packed", [False, True])
def test_plain_traces_at_the_shell(tmp_path: Path, packed: bool) -> None:
    file = tmp_path / "trace"
    file.write_bytes(gzip.compress(TEN.encode()) if packed else TEN.encode())
    words = [
        "replay",
        str(file),
        "--size",
        "50%",
        "--size",
        "1GB",
        "--warm",
        "1m",
        "--policy",
        "lru",
        "--policy",
        "fifo",
    ]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    missed, _, waits = done.output.partition("What pulls waited for")
    expected = [[size, policy] for size in ("50%", "1GB") for policy in ("lru", "fifo", "first")]
    assert [line.split()[:2] for line in missed.strip().splitlines()[-6:]] == expected
    assert [line.split()[:2] for line in waits.strip().splitlines()[-4:]] == [expected[i] for i in (0, 1, 3, 4)]


@pytest.mark.parametrize(
    ("text", "words", "code", "told"),
    [
        (None, [], 2, "name an access record"),
        (TEN, ["--warm", "7d"], 1, "say less by --warm"),
        (TEN, ["--warm", "soon"], 1, "soon"),
        (TEN, ["--warm", "1m", "--size", "many"], 1, "many"),
        ("1 a\n", ["--warm", "0s"], 1, "line 1: '1 a' is no 'time id size'"),
        ("what\n", ["--warm", "0s"], 1, "is no access record"),
        (TEN, ["--policy", "best"], 2, "Invalid value"),
        (TEN, ["--warm", "1m", "--link", "fast"], 1, "fast"),
        (TEN, ["--warm", "1m", "--policy", "lru", "--plot", "curve.pdf"], 1, "FILE.svg or FILE.png"),
    ],
)
def test_what_makes_no_sense_is_told(tmp_path: Path, text: str | None, words: list[str], code: int, told: str) -> None:
    file = tmp_path / "trace"
    if text is not None:
        file.write_text(text)
    done = CliRunner().invoke(main, ["replay", *([str(file)] if text is not None else []), *words])
    assert (done.exit_code, told in done.output) == (code, True), done.output


@pytest.mark.parametrize(("name", "start"), [("curve.svg", b"<?xml"), ("curve.png", b"\x89PNG")])
def test_a_curve_is_drawn(tmp_path: Path, name: str, start: bytes) -> None:
    file, picture = tmp_path / "trace", tmp_path / name
    file.write_text(TEN)
    words = ["replay", str(file), "--curve", "--warm", "1m", "--policy", "lru", "--plot", str(picture)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(start)
