"""What is held, and comes too late, by how long images stay unused."""

import json

import pytest
from click.testing import CliRunner

from edgeproxy.cli.main import main
from edgeproxy.interfaces import Access, Contents, Happening, Kind
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.replay.requests import trace
from edgeproxy.replay.unused import Stayed, fixed, learned

HERE = Repository("docker.io", "shop/app")
START, DAY = 1_700_000_000.0, 86400.0
SHARED, OLD, NEW = (Digest.of(name) for name in (b"shared", b"old", b"new"))
MIB = 1 << 20


def ask(day: float, kind: Kind, reference: Reference, digest: Digest, size: int) -> Access:
    return Access(START + day * DAY, 0, "GET", kind, reference, digest, size, "hit", size, 0.0)


def pull(day: float, tag: str, *layers: Digest) -> list[Happening]:
    """A manifest of a byte, and layers of a mebibyte."""
    manifest = Descriptor(OCI_MANIFEST, Digest.of(tag.encode()), 1)
    names = tuple(Descriptor("", layer, MIB) for layer in layers)
    return [
        Contents(START + day * DAY, manifest, names),
        ask(day, "manifests", Tag(HERE, tag), manifest.digest, 1),
        *(ask(day, "blobs", Pinned(HERE, layer), layer, MIB) for layer in layers),
    ]


def test_what_only_the_unused_image_needs_goes_and_comes_too_late() -> None:
    happenings = [*pull(0, "1.0", SHARED, OLD), *pull(0, "2.0", SHARED, NEW)]
    for day in range(1, 8):
        happenings += pull(day, "2.0", SHARED, NEW)
    happenings += pull(8, "1.0", SHARED, OLD)
    found = fixed(trace(happenings, 6.5 * DAY), 3 * DAY)
    assert found.held == pytest.approx(2 / 3, rel=1e-4)
    assert found.requests == 2 / 6
    assert found.bytes == pytest.approx(1 / 4, rel=1e-4)
    assert fixed(trace(happenings, 6.5 * DAY), 30 * DAY) == Stayed(1.0, 0.0, 0.0)


def test_a_tag_that_moved_keeps_its_former_image_no_longer() -> None:
    moved = [ask(4.0, "manifests", Tag(HERE, "1.0"), Digest.of(b"other"), 1)]
    happenings = [*pull(0, "1.0", OLD), *pull(3, "1.0", OLD), *moved, *pull(9, "2.0", NEW)]
    held = [fixed(trace(happenings, 5 * DAY), days * DAY).held for days in (20.0, 5.5)]
    assert held == [1.0, pytest.approx(1 / (MIB + 2))], "of what it showed before only the new manifest is left"


def test_what_is_learned_lets_go_when_it_is_sure() -> None:
    happenings = [*pull(0, "2.0", NEW), *pull(1, "0.1", OLD)]
    for hour in range(30 * 24):
        happenings += pull(1 + hour / 24, "2.0", NEW)
    for number in range(400):
        happenings += pull(1 + number * 0.07, f"0.{number % 5}", OLD)
    happenings.sort(key=lambda each: each.time)
    assert learned(trace(happenings, 20 * DAY), 0.0) == Stayed(1.0, 0.0, 0.0)
    assert learned(trace(happenings, 20 * DAY), 0.1).requests == 0.0


@pytest.mark.parametrize("words", [["--json"], []])
def test_at_the_shell(words: list[str]) -> None:
    done = CliRunner().invoke(main, ["replay", "--generate", "5", "--days", "2", "--warm", "1d", "--unused", *words])
    assert done.exit_code == 0, done.output
    if words:
        document = json.loads(done.output)
        assert document[0] == {"policy": "for 3 d", "held": [1.0], "requests": [0.0], "bytes": [0.0]}
    else:
        assert "learned, 1.0% late" in done.output
