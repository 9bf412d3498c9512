from pathlib import Path

import pytest

from edgeproxy.oci.digest import Digest
from edgeproxy.store.disk import FormatUnknown, Layout


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_nobody_else_may_look(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "new" / "data")
    assert mode(layout.data) == 0o700
    assert {mode(directory) for directory in (layout.blobs, layout.partial, layout.catalog)} == {0o700}


def test_a_directory_that_others_could_read_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Layout(tmp_path)
    assert mode(tmp_path) == 0o700


def test_a_directory_is_opened_again_as_it_was(tmp_path: Path) -> None:
    first = Layout(tmp_path)
    stray = first.partial_of(Digest.of(b""))
    stray.write_bytes(b"kept")
    second = Layout(tmp_path)
    assert second.name == first.name
    assert stray.read_bytes() == b"kept"


def test_two_proxies_have_two_names(tmp_path: Path) -> None:
    assert Layout(tmp_path / "one").name != Layout(tmp_path / "two").name


@pytest.mark.parametrize("found", ["0", "2", "1.1", "something else"])
def test_another_version_s_directory_is_refused_untouched(tmp_path: Path, found: str) -> None:
    (tmp_path / "FORMAT").write_text(found)
    with pytest.raises(FormatUnknown, match=f"format '{found}'"):
        Layout(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["FORMAT"]
    assert (tmp_path / "FORMAT").read_text() == found


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_files_are_named_by_digest(tmp_path: Path, algorithm: str) -> None:
    layout, digest = Layout(tmp_path), Digest.of(b"x", algorithm)
    assert layout.blob(digest) == f"{tmp_path}/blobs/{algorithm}/{digest.hex[:2]}/{digest.hex}"
    assert layout.partial_of(digest) == tmp_path / "partial" / f"{algorithm}-{digest.hex}"


def test_files_lists_what_is_named_by_a_digest(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    digests = [Digest.of(b"x"), Digest.of(b"y"), Digest.of(b"x", "sha512")]
    for digest in digests:
        file = Path(layout.blob(digest))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"four")
        (file.parent / "stray").touch()
    found = {digest: stat.st_size for digest, stat in layout.files()}
    assert found == dict.fromkeys(digests, 4)


def test_partials_lists_what_is_named_by_a_digest(tmp_path: Path) -> None:
    layout, digest = Layout(tmp_path), Digest.of(b"x", "sha512")
    layout.partial_of(digest).write_bytes(b"four")
    (layout.partial / "stray").touch()
    assert [(found, stat.st_size) for found, stat in layout.partials()] == [(digest, 4)]
