"""What is written can be undone, byte for byte."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.clients.files import Changed, Outside, Tree

PATHS = ("/etc/a/b/c.toml", "/etc/d.json")
CONTENTS = st.none() | st.text().map(lambda text: text.encode())


def everything(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(file.relative_to(root)): (file.read_bytes() if file.is_file() else b"", file.stat().st_mode)
        for file in sorted(root.rglob("*"))
        if "edgeproxy-mirror" not in str(file) and str(file.relative_to(root)) not in ("var", "var/lib")
    }


@given(
    st.lists(CONTENTS, min_size=2, max_size=2), st.lists(st.dictionaries(st.sampled_from(PATHS), st.text()), max_size=3)
)
def test_undo_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes | None], writes: list[dict[str, str]]
) -> None:
    root = tmp_path_factory.mktemp("root")
    for path, content in zip(PATHS, contents, strict=True):
        if content is not None:
            file = root / path[1:]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o640)
    before, tree = everything(root), Tree(root)
    for files in writes:
        if all(tree.look(path) is not None or content is None for path, content in zip(PATHS, contents, strict=True)):
            tree.write("docker", files)
            assert tree.write("docker", files) == []
    tree.undo("docker")
    assert everything(root) == before
    assert tree.undo("docker") == []


def test_what_was_changed_since_is_not_undone(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write("docker", {"/etc/d.json": "ours"})
    (tmp_path / "etc/d.json").write_text("theirs")
    with pytest.raises(Changed, match=r"/etc/d.json: changed since"):
        tree.undo("docker")
    assert tree.look("/etc/d.json") == "theirs"
    assert tree.undo("docker", force=True) == ["/etc/d.json"]
    assert tree.look("/etc/d.json") is None


def test_what_was_changed_since_is_not_written_over_either(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.write("docker", {"/etc/d.json": "ours", "/etc/e.json": "ours"})
    (tmp_path / "etc/d.json").write_text("theirs")
    with pytest.raises(Changed, match=r"/etc/d.json: changed since .* --undo --force"):
        tree.write("docker", {"/etc/e.json": "new", "/etc/d.json": "new"})
    assert (tree.look("/etc/d.json"), tree.look("/etc/e.json")) == ("theirs", "ours")


@pytest.mark.parametrize("before", [None, b"before"])
def test_an_undo_that_was_broken_off_is_taken_up(tmp_path: Path, before: bytes | None) -> None:
    file = tmp_path / "d.json"
    if before is not None:
        file.write_bytes(before)
    tree = Tree(tmp_path)
    tree.write("docker", {"/d.json": "ours", "/e.json": "ours"})
    file.unlink() if before is None else file.write_bytes(before)
    assert tree.undo("docker") == ["/d.json", "/e.json"]
    assert file.exists() == (before is not None)


def test_what_may_hold_secrets_is_for_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text("secret")
    Tree(tmp_path).write("docker", {"/d.json": "ours"})
    (backup,) = (tmp_path / "var/lib/edgeproxy-mirror").iterdir()
    assert backup.stat().st_mode & 0o777 == 0o600


def test_a_link_out_of_an_image_is_not_followed(tmp_path: Path) -> None:
    outside, root = tmp_path / "daemon.json", tmp_path / "root"
    outside.write_text("the host's")
    (root / "etc").mkdir(parents=True)
    (root / "etc/d.json").symlink_to(outside)
    with pytest.raises(Outside, match="outside of"):
        Tree(root).write("docker", {"/etc/d.json": "ours"})
    assert outside.read_text() == "the host's"


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("before")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/d.json").symlink_to(tmp_path / "real.json")
    tree = Tree(tmp_path)
    tree.write("docker", {"/etc/d.json": "after"})
    assert (tmp_path / "etc/d.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "after"
