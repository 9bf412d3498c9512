"""htpasswd files: who is in them, what their passwords are, and what becomes of a file that is changed or wrong."""

import asyncio
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from edgeproxy.access.users import Users, UsersInvalid, read_users
from edgeproxy.oci.credentials import Credentials
from edgeproxy.oci.errors import TooManyRequests
from tests.parts.processes import need, run


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "users"
    aside = tmp_path / "users.new"
    aside.write_text(text)
    return aside.rename(file)


async def test_what_htpasswd_writes_is_read(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    need("htpasswd")
    file = tmp_path / "users"
    await run("htpasswd", "-cbB", file, "alice", "pässword")
    await run("htpasswd", "-bB", file, "bob", "another")
    users = Users(file, threads)
    assert "alice" in users
    assert "carol" not in users
    assert await users.check(Credentials("alice", "pässword"))
    assert not await users.check(Credentials("alice", "another"))
    assert not await users.check(Credentials("carol", "another"))
    assert await users.check(Credentials("bob", "another"))


async def test_comments_and_empty_lines_are_no_users(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    users = Users(written(tmp_path, f"# us\n\n  alice:{hashed('a')}  \n"), threads)
    assert await users.check(Credentials("alice", "a"))
    assert "# us" not in users


@pytest.mark.parametrize(
    "line", ["alice", ":hash", "alice:", "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "alice:$apr1$x$y", "alice:secret"]
)
def test_what_is_no_bcrypt_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    with pytest.raises(UsersInvalid) as told:
        read_users(written(tmp_path, f"bob:{hashed('b')}\n{line}\n"))
    assert f"{tmp_path / 'users'}:2:" in str(told.value)
    assert "htpasswd -B" in str(told.value)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("password", ["x" * 71 + "é", "x" * 500, "a\0b", ""])
async def test_any_password_is_compared_as_htpasswd_does(
    tmp_path: Path, threads: ThreadPoolExecutor, password: str
) -> None:
    known = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(4)).decode()
    users = Users(written(tmp_path, f"alice:{known}\n"), threads)
    assert await users.check(Credentials("alice", password))
    assert not await users.check(Credentials("alice", f"y{password}"))


async def test_a_hash_that_bcrypt_does_not_take_is_nobodys(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    users = Users(written(tmp_path, f"alice:$2b$99{hashed('a')[6:]}\n"), threads)
    assert not await users.check(Credentials("alice", "a"))


async def test_a_changed_file_is_read_again(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    users = Users(written(tmp_path, f"alice:{hashed('a')}\nbob:{hashed('b')}\n"), threads)
    before = users.mark("alice")
    assert not users.refresh()
    written(tmp_path, f"alice:{hashed('new')}\n")
    assert users.refresh()
    assert "bob" not in users
    assert users.mark("alice") != before
    assert users.mark("bob") == ""
    assert await users.check(Credentials("alice", "new"))
    assert not await users.check(Credentials("alice", "a"))


async def test_a_file_that_is_wrong_changes_nothing(
    tmp_path: Path, threads: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    file = written(tmp_path, f"alice:{hashed('a')}\n")
    users = Users(file, threads)
    written(tmp_path, "nonsense\n")
    assert not users.refresh()
    file.unlink()
    assert not users.refresh()
    assert await users.check(Credentials("alice", "a"))
    assert len([one for one in caplog.messages if "stay as they were" in one]) == 2


class _Held(ThreadPoolExecutor):
    """Threads that never get to what they are asked."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        return Future()


async def test_a_password_is_checked_once_however_many_show_it_and_not_too_many_at_once(tmp_path: Path) -> None:
    users = Users(written(tmp_path, f"alice:{hashed('a')}\nbob:{hashed('b')}\n"), _Held())
    tasks = [asyncio.create_task(users.check(Credentials("alice", "a"))) for _ in range(1000)]
    tasks += [asyncio.create_task(users.check(Credentials("alice", str(number)))) for number in range(3)]
    tasks += [asyncio.create_task(users.check(Credentials(str(number), "x"))) for number in range(32)]
    await asyncio.sleep(0)
    for name in ("alice", "nobody"):
        with pytest.raises(TooManyRequests) as told:
            await users.check(Credentials(name, "one too many"))
        assert told.value.retry_after == 1
    tasks.append(asyncio.create_task(users.check(Credentials("bob", "b"))))  # whom all of that does not keep
    await asyncio.sleep(0)
    assert not tasks[-1].done()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_leaves_takes_nothing_from_the_others(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    users = Users(written(tmp_path, f"alice:{hashed('a')}\n"), threads)
    one, other = (asyncio.create_task(users.check(Credentials("alice", "a"))) for _ in range(2))
    await asyncio.sleep(0)
    one.cancel()
    assert await other


def test_a_file_that_is_not_there_is_told(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    shutil.rmtree(tmp_path / "users", ignore_errors=True)
    with pytest.raises(FileNotFoundError):
        Users(tmp_path / "users", threads)
