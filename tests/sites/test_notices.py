"""What registries tell of themselves."""

import json

import pytest

from edgeproxy.oci.digest import Digest
from edgeproxy.sites.notices import Notice, notices

DIGEST = Digest.of(b"manifest")


def event(action: str, **target: object) -> dict[str, object]:
    return {"action": action, "target": {"repository": "team/app", "digest": DIGEST, **target}}


def told(document: object) -> list[Notice]:
    return notices(json.dumps(document).encode())


def test_distribution_tells_of_manifests_and_of_blobs() -> None:
    manifest = f"http://registry/v2/team/app/manifests/{DIGEST}"
    events = [
        event("push", tag="1.0", url=manifest),
        event("push", url=manifest),
        event("push", url=f"http://registry/v2/team/app/blobs/{DIGEST}"),
        event("pull", tag="1.0", url=manifest),
        event("delete", url=manifest),
        event("mount", url=manifest),
    ]
    assert told({"events": events}) == [
        Notice("team/app", "1.0", DIGEST, deleted=False),
        Notice("team/app", None, DIGEST, deleted=False),
        Notice("team/app", None, DIGEST, deleted=True),
    ]


@pytest.mark.parametrize(("kind", "deleted"), [("PUSH_ARTIFACT", False), ("DELETE_ARTIFACT", True)])
def test_harbor_tells_of_artifacts(kind: str, deleted: bool) -> None:
    about = {"resources": [{"digest": DIGEST, "tag": "1.0"}], "repository": {"repo_full_name": "team/app"}}
    assert told({"type": kind, "event_data": about}) == [Notice("team/app", "1.0", DIGEST, deleted)]


def test_what_is_of_no_interest_is_left_out() -> None:
    assert told({"type": "SCANNING_COMPLETED", "event_data": {}}) == []
    assert told({"events": []}) == []
    assert told({"events": [event("push", tag="no tag!", digest="none", url="/manifests/")]}) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"events": 1}',
        b'{"events": [1]}',
        b'{"events": [{"action": "push"}]}',
        b'{"type": "PUSH_ARTIFACT"}',
        b'{"type": "PUSH_ARTIFACT", "event_data": {"resources": 1, "repository": {}}}',
        b'{"type": ["a"], "event_data": {}}',
    ],
)
def test_what_is_no_notification_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        notices(body)
