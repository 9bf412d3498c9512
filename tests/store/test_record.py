"""The access record: what is written is read, up to where a crash tore it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.interfaces import Access, Checked, Contents, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Pinned, Repository, Tag
from edgeproxy.store import happenings
from edgeproxy.store.record import Record, read, segments

DIGESTS = st.binary(max_size=4).map(Digest.of)
REPOSITORIES = st.builds(Repository, st.sampled_from(["docker.io", "a.test:5"]), st.sampled_from(["app", "team/app"]))
TAGS = st.builds(Tag, REPOSITORIES, st.sampled_from(["1.0", "latest"]))
TIMES = st.integers(0, 2**42).map(lambda milliseconds: milliseconds / 1000)
DESCRIPTORS = st.builds(Descriptor, st.text(max_size=20), DIGESTS, st.integers(0, 2**40))
HAPPENINGS = (
    st.builds(
        Access,
        TIMES,
        st.integers(0, 65535),
        st.sampled_from(["GET", "HEAD"]),
        st.sampled_from(["manifests", "blobs"]),
        TAGS | st.builds(Pinned, REPOSITORIES, DIGESTS),
        st.none() | DIGESTS,
        st.integers(0, 2**40),
        st.sampled_from(["hit", "miss", "refused"]),
        st.integers(0, 2**40),
        st.integers(0, 10**6).map(lambda micros: micros / 1e6),
    )
    | st.builds(Contents, TIMES, DESCRIPTORS, st.lists(DESCRIPTORS, max_size=3).map(tuple))
    | st.builds(Checked, TIMES, TAGS, st.none() | DESCRIPTORS)
)
ONE = Checked(5.0, Tag(Repository("a.test", "app"), "1.0"), None)


@given(HAPPENINGS)
def test_a_line_says_all_of_it(happening: Happening) -> None:
    assert happenings.read(happenings.write(happening)) == happening


@given(st.text() | st.binary())
def test_what_is_no_line_is_refused(line: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever says so
        happenings.read(line)


@pytest.mark.parametrize("line", ["[]", "[7]", '["asked"]', '["checked",1,"a","b","c",["","sha256:x",1]]', "[" * 9999])
def test_what_is_nearly_a_line_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        happenings.read(line)


def test_what_was_written_is_read_after_a_restart(tmp_path: Path) -> None:
    Record(tmp_path, 10**6).append([ONE, ONE])
    Record(tmp_path, 10**6).append([ONE])
    assert list(read([tmp_path])) == [ONE] * 3


@pytest.mark.parametrize("torn", [1, 5, 20])
def test_what_a_crash_tore_is_left_out(tmp_path: Path, torn: int) -> None:
    record = Record(tmp_path, 10**6)
    record.append([ONE])
    whole = segments(tmp_path)[0].stat().st_size
    record.append([ONE])
    segments(tmp_path)[0].write_bytes(segments(tmp_path)[0].read_bytes()[: whole + torn])
    Record(tmp_path, 10**6).append([ONE])
    assert list(read([tmp_path])) == [ONE, ONE]


def test_the_oldest_goes_first(tmp_path: Path) -> None:
    record = Record(tmp_path, 8000)
    for number in range(400):
        record.append([ONE._replace(time=float(number))] * 3)
    assert 0 < record.size() <= 8000 + 2000
    times = [each.time for each in read([tmp_path])]
    assert times == sorted(times)
    assert times[-1] == 399.0
    assert times[0] > 0.0


def test_plain_lines_are_a_record_too(tmp_path: Path) -> None:
    file = tmp_path / "exported.jsonl"
    file.write_text(f"{happenings.write(ONE)}\n" * 2)
    assert list(read([file])) == [ONE, ONE]
    file.write_text("time,id\n")
    with pytest.raises(ValueError, match="is no access record"):
        list(read([file]))
