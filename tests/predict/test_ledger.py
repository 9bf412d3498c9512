"""What happens is taken down: here by the rows that come of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.interfaces import Access, Checked, Contents, Happening, Held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import OCI_INDEX, OCI_MANIFEST, Descriptor
from edgeproxy.oci.reference import Pinned, Reference, Repository, Tag
from edgeproxy.oci.releases import shape_of
from edgeproxy.predict.features import NAMES, NEVER, rows
from edgeproxy.predict.ledger import Ledger, key_of, keys_of

APP = Repository("docker.io", "shop/app")
NOW = 1_700_000_000.0
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(name: str) -> Digest:
    return Digest.of(name.encode())


def asked(name: str, at: float, reference: Reference | None = None, client: int = 1, method: str = "GET") -> Access:
    kind = "manifests" if name.startswith("m") else "blobs"
    reference = reference or Pinned(APP, digest(name))
    return Access(NOW + at, client, method, kind, reference, digest(name), 1000, "hit", 1000, 0.0)  # type: ignore[arg-type]


def pulled(manifest: str, tag: str, at: float, client: int = 1) -> Access:
    return asked(manifest, at, Tag(APP, tag), client)


def contents(manifest: str, at: float, *names: str, index: bool = False) -> Contents:
    inner = OCI_MANIFEST if index else LAYER
    named = tuple(Descriptor(inner, digest(name), 1000) for name in names)
    return Contents(NOW + at, Descriptor(OCI_INDEX if index else OCI_MANIFEST, digest(manifest), 500), named)


def seen(name: str, at: float, *happenings: Happening) -> dict[str, float]:
    ledger = Ledger()
    for happening in happenings:
        ledger.observe(happening)
    return row_of(ledger, name, at)


def row_of(ledger: Ledger, name: str, at: float) -> dict[str, float]:
    row = rows(ledger, np.array([ledger.find(digest(name))], np.intp), NOW + at)[0]
    assert np.isfinite(row).all()
    return dict(zip(NAMES, row.tolist(), strict=True))


def span(seconds: float) -> object:
    return pytest.approx(np.log2(1 + seconds), abs=1e-4)


def test_a_blob_asked_for_three_times_in_two_bursts() -> None:
    row = seen("b", 4000, asked("b", 0), asked("b", 60, client=2), asked("b", 3600, client=3))
    assert (row["age"], row["known"], row["gap"], row["lull1"]) == (span(400), span(4000), span(3540), span(3600))
    assert (row["burst"], row["uses"]) == (1.0, 2.0)
    assert (row["lull2"], row["named_age"]) == (span(NEVER), span(NEVER))
    assert 2 ** row["crowd"] - 1 == pytest.approx(3, abs=0.1)
    assert np.log2(3.9) < row["slow"] < 2.0
    assert row["slow"] > row["middle"] > row["fast"] > 1.0


def test_heads_and_refusals_are_no_uses() -> None:
    refused = asked("b", 10)._replace(digest=None, outcome="refused")
    row = seen("b", 100, asked("b", 0), asked("b", 50, method="HEAD"), refused)
    assert (row["uses"], row["age"]) == (1.0, span(100))


def test_a_manifest_mentions_what_it_names() -> None:
    row = seen("b", 5000, contents("m", 0, "c", "b"), pulled("m", "1", 0), asked("b", 1), pulled("m", "1", 4000))
    assert (row["named_age"], row["age"], row["quiet"]) == (span(1000), span(4999), span(4000))
    assert row["waiting"] > 2
    assert (row["place"], row["parts"], row["images"], row["current"], row["lag"]) == (1, 2, 1, 1, 0)


def test_a_release_supersedes_what_it_does_not_share() -> None:
    happenings: list[Happening] = [
        contents("m1", 0, "c1", "base", "old"), pulled("m1", "1.0", 0, 1), pulled("m1", "1.0", 5, 2),
        contents("m2", 1000, "c2", "base", "new"), pulled("m2", "1.1", 1000, 1),
    ]  # fmt: skip
    old, base, new = (seen(name, 2000, *happenings) for name in ("old", "base", "new"))
    assert [row["current"] for row in (old, base, new)] == [0, 1, 1]
    assert [row["lag"] for row in (old, base, new)] == [1, 0, 0]
    assert (old["left"], base["left"] > 9, base["released"]) == (span(1000), True, span(1000))
    assert 2 ** new["left_to_come"] - 1 == pytest.approx(1, abs=0.05), "client 2 has not come yet"


def test_a_tag_that_moves_back_is_a_release() -> None:
    moved: list[Happening] = [
        pulled("m1", "latest", 0),
        pulled("m2", "latest", 10),
        Checked(NOW + 20, Tag(APP, "latest"), None),
    ]
    back = Checked(NOW + 30, Tag(APP, "latest"), Descriptor(OCI_MANIFEST, digest("m1"), 500))
    happenings: list[Happening] = [contents("m1", 0, "a"), contents("m2", 0, "b"), *moved]
    assert [seen(name, 40, *happenings)["lag"] for name in "ab"] == [1, 0]
    assert [seen(name, 40, *happenings, back)["lag"] for name in "ab"] == [0, 1]


def test_an_old_tag_that_is_pulled_again_is_no_release() -> None:
    happenings: list[Happening] = [contents("m1", 0, "a"), contents("m2", 0, "b")]
    happenings += [pulled("m1", "1.0", 0), pulled("m2", "1.1", 10), pulled("m1", "1.0", 20)]
    assert [seen(name, 40, *happenings)["lag"] for name in "ab"] == [1, 0]


def test_layers_of_an_index_are_its_releases() -> None:
    happenings: list[Happening] = [
        contents("mi1", 0, "m1", index=True), pulled("mi1", "1.0", 0), contents("m1", 1, "old"), asked("m1", 1),
        contents("mi2", 9, "m2", index=True), pulled("mi2", "1.1", 9), contents("m2", 10, "new"), asked("m2", 10),
    ]  # fmt: skip
    old, new = seen("old", 20, *happenings), seen("new", 20, *happenings)
    assert (old["lag"], new["lag"], old["current"], new["current"]) == (1, 0, 0, 1)


def test_a_client_that_asks_for_what_nobody_wants_is_cold() -> None:
    scans = [asked(f"s{n}", n, Pinned(Repository("docker.io", f"r{n}"), digest(f"s{n}")), 7) for n in range(100)]
    cold = seen("s99", 100, *scans)
    warm = seen("b", 100, *(asked("b", n) for n in range(100)))
    assert (cold["cold"] > 0.9, cold["regular"] < 0.5, cold["moves"] > 6) == (True, True, True)
    assert (warm["cold"] < 0.1, warm["regular"] > 0.9, warm["moves"] <= 1.0) == (True, True, True)


@pytest.mark.parametrize(
    ("one", "other"), [("1.2.3", "1.10.0"), ("v7", "v8"), ("deadbeef1", "0123abcd"), ("2024-01-01", "2025-12-31")]
)
def test_tags_of_one_row_of_releases(one: str, other: str) -> None:
    assert shape_of(one) == shape_of(other)


def test_tags_of_different_rows() -> None:
    assert len({shape_of(tag) for tag in ("latest", "1.2", "1.2-alpine", "main", "stable")}) == 5


@given(st.lists(st.tuples(st.binary(max_size=4), st.sampled_from(["sha256", "sha512"]))))
def test_keys_of_many_at_once(bodies: list[tuple[bytes, str]]) -> None:
    digests = [Digest.of(body, algorithm) for body, algorithm in bodies]
    assert keys_of(digests).tolist() == list(map(key_of, digests))


def test_keys_of_more_than_are_worked_out_at_once() -> None:
    digests = [Digest.of(b"%d" % number) for number in range(3000)]
    assert keys_of(digests).tolist() == list(map(key_of, digests))


def test_what_is_held_but_was_never_seen_is_taken_from_the_catalogue() -> None:
    ledger = Ledger()
    ledger.adopt(Held(digest("b"), 4096, NOW, NOW + 50, 3))
    row = row_of(ledger, "b", 100)
    assert (row["age"], row["known"], row["uses"]) == (span(50), span(100), 2.0)


NAMED = st.sampled_from(["m1", "m2", "m3", "b1", "b2", "b3", "b4", "b5"])
HAPPENINGS = st.lists(
    st.one_of(
        st.builds(lambda name, client: asked(name, 0, None, client), NAMED, st.integers(0, 9)),
        st.builds(lambda n, tag: pulled(f"m{n}", tag, 0), st.integers(0, 40), st.sampled_from(["1.0", "1.1", "main"])),
        st.builds(lambda n, parts: contents(f"m{n}", 0, *parts), st.integers(0, 40), st.lists(NAMED, unique=True)),
    ),
    max_size=120,
)


@given(HAPPENINGS, st.integers(16, 24))
def test_memory_is_bounded_and_rows_stay_finite(happenings: list[Happening], limit: int) -> None:
    ledger = Ledger(limit)
    for second, happening in enumerate(happenings):
        ledger.observe(happening._replace(time=NOW + second * 400.0))
        assert len(ledger.objects) <= limit
    slots = ledger.objects.used()
    if len(slots):
        table = rows(ledger, slots, NOW + 60_000)
        assert np.isfinite(table).all()
        assert (table[:, NAMES.index("current")] >= 0).all()
