"""What a policy is about, and when a push has been given to enough targets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.oci.manifest import OCI_MANIFEST
from edgeproxy.oci.reference import Repository
from edgeproxy.sites.filters import Chain
from edgeproxy.sites.policies import Change, ReplicationPolicy, satisfied

NGINX = Repository("docker.io", "library/nginx")
PUSHED = Change(NGINX, "1.2", OCI_MANIFEST, None)
DELETED = Change(NGINX, "1.2", "", None, deleted=True)


def wants(change: Change, *, deletions: bool = False, **filters: list[str]) -> bool:
    return ReplicationPolicy("all", Chain.parse(**filters), deletions=deletions).wants(change)


def test_a_push_is_wanted_where_the_chain_passes_it() -> None:
    assert wants(PUSHED)
    assert wants(PUSHED, tags=["semver:^1"], media_types=[OCI_MANIFEST])
    assert not wants(PUSHED, tags=["latest"])
    assert not wants(PUSHED, media_types=["application/vnd.docker.**"])
    assert not wants(PUSHED, artifact_types=["application/spdx+json"])


def test_a_deletion_is_wanted_only_where_deletions_are() -> None:
    assert not wants(DELETED)
    assert wants(DELETED, deletions=True)
    assert not wants(DELETED, deletions=True, tags=["latest"])
    assert not wants(DELETED, deletions=True, images=["redis"])


def test_a_deletion_is_wanted_whatever_types_the_policy_is_about() -> None:
    """It has none to go by."""
    assert wants(DELETED, deletions=True, media_types=[OCI_MANIFEST], artifact_types=["application/spdx+json"])


@pytest.mark.parametrize(
    ("mode", "delivered", "expected"),
    [("async", 0, True), ("semi-sync", 0, False), ("semi-sync", 1, True), ("sync", 1, False), ("sync", 2, True)],
)
def test_a_push_waits_for_as_many_of_two_targets_as_the_mode_says(mode: str, delivered: int, expected: bool) -> None:
    assert satisfied(mode, delivered, 2) is expected  # type: ignore[arg-type]


@given(st.sampled_from(["async", "semi-sync", "sync"]), st.integers(0, 9))
def test_nobody_waits_once_all_have_it(mode: str, targets: int) -> None:
    assert satisfied(mode, targets, targets)  # type: ignore[arg-type]
