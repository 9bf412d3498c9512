import pytest

from edgeproxy.cache.absent import BELIEVED, Absent
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUnknown, ManifestUnknown, Unavailable
from edgeproxy.oci.reference import Pinned, Repository, Tag
from tests.fakes.clock import ManualClock

HERE = Repository("docker.io", "library/nginx")
PINNED = Pinned(HERE, Digest.of(b""))


def test_a_negative_answer_is_believed_briefly() -> None:
    clock = ManualClock()
    absent = Absent(clock)
    absent.check("blobs", PINNED)
    absent.note("blobs", PINNED, BlobUnknown("never heard of it"))
    clock.advance(BELIEVED - 0.1)
    with pytest.raises(BlobUnknown, match="never heard of it"):
        absent.check("blobs", PINNED)
    clock.advance(0.1)
    absent.check("blobs", PINNED)


def test_trouble_is_no_negative_answer() -> None:
    absent = Absent(ManualClock())
    absent.note("blobs", PINNED, Unavailable("down"))
    absent.check("blobs", PINNED)


def test_it_is_of_one_kind_and_one_reference() -> None:
    absent = Absent(ManualClock())
    absent.note("manifests", PINNED, ManifestUnknown(""))
    absent.check("blobs", PINNED)
    absent.check("manifests", Pinned(Repository("ghcr.io", "library/nginx"), PINNED.digest))


def test_its_memory_has_an_end() -> None:
    absent = Absent(ManualClock())
    for number in range(10_001):
        absent.note("manifests", Tag(HERE, str(number)), ManifestUnknown(""))
    absent.check("manifests", Tag(HERE, "0"))
    with pytest.raises(ManifestUnknown):
        absent.check("manifests", Tag(HERE, "10000"))


def test_it_holds_on_to_nobody_who_asked() -> None:
    """Each time that an exception is raised its traceback grows, by frames that hold the request."""
    absent = Absent(ManualClock())
    absent.note("blobs", PINNED, BlobUnknown("never heard of it"))
    for _ in range(3):
        with pytest.raises(BlobUnknown) as told:
            absent.check("blobs", PINNED)
    assert len(told.traceback) == 2  # this test, and `check`
