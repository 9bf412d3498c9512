import os
import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.store.rows import Rows
from tests.store.stores import files_open_below

TEXT = st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0x10FFFE), max_size=6)
KEYS = st.text(st.sampled_from("ab /!-é\U0001f4a9"), min_size=1, max_size=4)


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    opened = Rows(tmp_path)
    yield opened
    opened.close()


def tamper(directory: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(directory / "cache.db") as database:
        assert database.execute(statement, values).rowcount == 1
    database.close()


class Trap:
    """Whatever unpickles it has run it: it makes a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._directory),)


def test_a_row_is_read_back(rows: Rows) -> None:
    rows.put("key", "value")
    rows.put("key", "another")
    assert rows.get("key") == "another"
    assert rows.delete("key")
    assert rows.get("key") is None
    assert not rows.delete("key")


def test_rows_outlive_the_process(tmp_path: Path) -> None:
    for opened in (Rows(tmp_path), Rows(tmp_path)):
        opened.put("key", (opened.get("key") or "") + "x")
        opened.close()
    again = Rows(tmp_path)
    assert again.get("key") == "xx"
    again.close()


def test_closing_closes_the_database(tmp_path: Path) -> None:
    rows = Rows(tmp_path)
    rows.put("key", "value")
    assert files_open_below(tmp_path, ".") != []
    rows.close()
    assert files_open_below(tmp_path, ".") == []


@given(TEXT, TEXT)
@settings(deadline=None, max_examples=50)
def test_any_text_is_a_key_and_a_value(key: str, value: str) -> None:
    SHARED.put(key, value)
    assert SHARED.get(key) == value


def test_a_long_value_stays_in_its_row(rows: Rows, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    rows.put("key", "x" * 1_000_000)
    assert rows.get("key") == "x" * 1_000_000
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("wrong", [b"bytes", 1, 1.5, None, ("a", "b")])
def test_keys_and_values_are_text(rows: Rows, wrong: object) -> None:
    with pytest.raises(TypeError, match="text"):
        rows.put(wrong, "value")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text"):
        rows.put("key", wrong)  # type: ignore[arg-type]
    assert rows.scan("") == []


Read = Callable[[Rows], object]
READS = pytest.mark.parametrize("read", [lambda rows: rows.get("key"), lambda rows: rows.scan("")], ids=["get", "scan"])


@READS
@pytest.mark.parametrize("mode", [1, 2, 3, 4])
def test_a_value_that_is_not_text_is_refused_unread(rows: Rows, tmp_path: Path, mode: int, read: Read) -> None:
    rows.put("key", "value")
    pickled = pickle.dumps(Trap(tmp_path / "sprung"))
    tamper(tmp_path, "UPDATE Cache SET mode = ?, value = ?", mode, pickled)
    with pytest.raises(ValueError, match="not text"):
        read(rows)
    assert not (tmp_path / "sprung").exists()


@READS
def test_a_value_in_a_file_is_refused_unread(rows: Rows, tmp_path: Path, read: Read) -> None:
    rows.put("key", "value")
    (tmp_path / "file").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    tamper(tmp_path, "UPDATE Cache SET mode = 4, value = NULL, filename = 'file'")
    with pytest.raises(ValueError, match="not text"):
        read(rows)
    assert not (tmp_path / "sprung").exists()


def test_a_key_that_is_not_text_is_never_read(rows: Rows, tmp_path: Path) -> None:
    rows.put("key", "value")
    tamper(tmp_path, "UPDATE Cache SET raw = 0, key = ?", pickle.dumps(Trap(tmp_path / "sprung")))
    assert rows.get("key") is None
    assert rows.scan("") == []
    assert not (tmp_path / "sprung").exists()


SHARED: Rows
"""Examples by the hundred share one database, empty before each."""


@pytest.fixture(scope="module", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    global SHARED
    SHARED = Rows(tmp_path_factory.mktemp("rows"))
    yield
    SHARED.close()


@given(
    st.dictionaries(KEYS, TEXT, max_size=12),
    st.text(st.sampled_from("ab /"), max_size=2),
    KEYS | st.just(""),
    st.integers(1, 5),
)
@settings(deadline=None, max_examples=150)
def test_a_scan_is_a_sorted_range(model: dict[str, str], prefix: str, after: str, limit: int) -> None:
    with SHARED.transaction():
        for key, _ in SHARED.scan(""):
            SHARED.delete(key)
        for key, value in model.items():
            SHARED.put(key, value)
    matching = sorted((key, value) for key, value in model.items() if key.startswith(prefix) and key > after)
    assert SHARED.scan(prefix, after, limit) == matching[:limit]
    assert SHARED.scan(prefix) == sorted((key, value) for key, value in model.items() if key.startswith(prefix))


def test_a_transaction_is_all_or_nothing(rows: Rows) -> None:
    rows.put("before", "x")

    def fail() -> None:
        with rows.transaction():
            rows.put("key", "value")
            rows.delete("before")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert rows.scan("") == [("before", "x")]


def test_nobody_sees_the_middle_of_a_transaction(rows: Rows, tmp_path: Path) -> None:
    other = Rows(tmp_path)
    with rows.transaction():
        rows.put("key", "value")
        assert other.get("key") is None
    assert other.get("key") == "value"
    other.close()


def test_writes_of_two_threads_wait_for_each_other(rows: Rows) -> None:
    def add() -> None:
        for _ in range(50):
            with rows.transaction():
                rows.put("sum", str(int(rows.get("sum") or 0) + 1))
        rows.close()

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows.get("sum") == "100"
