"""edgeproxy serve where it cannot run: an exit code, and words for whoever reads the journal."""

import socket
from pathlib import Path

import pytest

from tests.cli.running import Ended, command
from tests.parts.processes import free_port


async def serve(directory: Path, listen: int = 0, admin: int = 0, data: Path | None = None, more: str = "") -> Ended:
    file = directory / "edgeproxy.toml"
    text = f'listen = "127.0.0.1:{listen or free_port()}"\nadmin = "127.0.0.1:{admin or free_port()}"\n'
    file.write_text(f'{text}data = "{data or directory / "data"}"\n{more}')
    return await command("serve", "-c", file)


def only_words(ended: Ended) -> str:
    """What was said: one message, not the trace of a program that fell over."""
    assert "Traceback" not in ended.words
    return ended.words


@pytest.mark.parametrize("key", ["listen", "admin"])
async def test_a_port_in_use(tmp_path: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await serve(tmp_path, **{key: port})
    assert ended.code == 1
    assert f"cannot listen on 127.0.0.1:{port} ({key}): Address already in use" in only_words(ended)
    assert f"EDGEPROXY_{key.upper()}" in ended.words, "it does not say what to do"


@pytest.mark.parametrize("key", ["listen", "admin"])
async def test_an_address_that_is_none_of_this_machine(tmp_path: Path, key: str) -> None:
    file = tmp_path / "edgeproxy.toml"
    other = {"listen": "admin", "admin": "listen"}[key]
    lines = [f'{key} = "192.0.2.1:5000"', f'{other} = "127.0.0.1:{free_port()}"', f'data = "{tmp_path / "data"}"']
    file.write_text("\n".join(lines))
    ended = await command("serve", "-c", file)
    assert ended.code == 1
    assert f"cannot listen on 192.0.2.1:5000 ({key}): Cannot assign requested address" in only_words(ended)


async def test_a_name_that_is_no_host(tmp_path: Path) -> None:
    file = tmp_path / "edgeproxy.toml"
    lines = ['listen = "[::zz]:5000"', f'admin = "127.0.0.1:{free_port()}"', f'data = "{tmp_path / "data"}"']
    file.write_text("\n".join(lines))
    ended = await command("serve", "-c", file)
    assert ended.code == 1
    assert "cannot listen on ::zz:5000 (listen): " in only_words(ended)
    assert "Unknown error" not in ended.words


async def test_a_data_directory_of_another_format_is_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "FORMAT").write_text("99")
    ended = await serve(tmp_path)
    assert ended.code == 1
    assert str(data) in only_words(ended)
    assert "99" in ended.words
    assert [entry.name for entry in data.iterdir()] == ["FORMAT"]


async def test_a_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ended = await serve(tmp_path, data=tmp_path / "file" / "data")
    assert ended.code == 1
    assert f"{tmp_path / 'file' / 'data'} cannot be used: " in only_words(ended)
    assert "EDGEPROXY_DATA" in ended.words


async def test_a_password_file_that_cannot_be_read_is_a_wrong_configuration(tmp_path: Path) -> None:
    login = f'username = "me"\npassword_file = "{tmp_path / "absent"}"\n'
    ended = await serve(tmp_path, more=f'[[registry."a.test".upstream]]\nurl = "http://127.0.0.1"\n{login}')
    assert ended.code == 2
    assert str(tmp_path / "absent") in only_words(ended)
