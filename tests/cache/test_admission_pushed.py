"""To whom is shown what was pushed here."""

from pathlib import Path

import pytest

from edgeproxy.access.identity import Caller, Grant, Identity, Role
from edgeproxy.access.roles import Binding, Subjects
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import Denied, Unauthorized
from edgeproxy.oci.reference import Pinned, Repository
from edgeproxy.store.pushed import Pushed
from tests.cache.core import Core, running
from tests.cache.test_admission import HIDDEN, NONE, OPEN, is_open, keeping, refusal


async def pushed(core: Core, repository: Repository) -> None:
    row = Pinned(repository, Digest.of(b"pushed"))
    await Pushed(core.catalog).announce(row, 6, core.clock.now(), core.clock.now() + 60)


@pytest.mark.parametrize("ours", [True, False])
async def test_what_is_pushed_is_private_unless_upstream_shows_the_repository_to_all(
    tmp_path: Path, ours: bool
) -> None:
    async with running(tmp_path) as core, keeping(login=ours) as (gatekeeper, registry):
        for repository in (OPEN, HIDDEN, NONE):
            await pushed(core, repository)
        admission = core.admission({"ghcr.io": [registry]}, logins=True)
        assert not is_open(core, admission, OPEN)
        assert await refusal(admission, OPEN) is None
        assert await refusal(admission, HIDDEN) is Unauthorized
        assert await refusal(admission, NONE) is Unauthorized  # which nobody upstream knows
        assert len(gatekeeper.asked) == 3
        assert await refusal(admission, NONE) is Unauthorized
        assert len(gatekeeper.asked) == 3
        assert is_open(core, admission, OPEN)


async def test_what_is_pushed_is_private_until_upstream_says_otherwise(tmp_path: Path) -> None:
    async with running(tmp_path) as core, keeping(login=False) as (gatekeeper, registry):
        await pushed(core, OPEN)
        keepers = {"ghcr.io": [registry]}
        assert await refusal(core.admission(keepers, offline=True), OPEN) is Denied
        admission = core.admission(keepers)
        for status in (503, 404):  # upstream fails, and does not know what was asked for
            gatekeeper.status["open"] = status
            assert await refusal(admission, OPEN) is Denied
            assert await refusal(admission, OPEN) is Denied
            core.clock.advance(30)
        assert len(gatekeeper.asked) == 2
        gatekeeper.status["open"] = 200
        assert await refusal(admission, OPEN) is None


@pytest.mark.parametrize(
    ("binding", "grants", "expected"),
    [
        (Binding(Role.REPLICATOR, Subjects.parse(["site"]), ("a/b",)), None, True),
        (Binding(Role.OPERATOR, Subjects.parse(["*"]), ("*",)), None, True),
        (Binding(Role.PUSHER, Subjects.parse(["site"]), ("*",)), None, False),
        (Binding(Role.REPLICATOR, Subjects.parse(["other"]), ("*",)), None, False),
        (Binding(Role.REPLICATOR, Subjects.parse(["site"]), ("*",), deny=True), None, False),
        (Binding(Role.REPLICATOR, Subjects.parse(["site"]), ("*",)), {Grant("a/b", Role.PUSHER)}, False),
        (Binding(Role.PULLER, Subjects.parse(["site"]), ("*",)), {Grant("a/b", Role.REPLICATOR)}, True),
    ],
)
async def test_who_is_another_site(tmp_path: Path, binding: Binding, grants: set[Grant] | None, expected: bool) -> None:
    identity = Identity("site", grants=frozenset(grants) if grants is not None else None)
    async with running(tmp_path) as core:
        assert core.admission({}, [binding]).replicates(Caller(identity)) is expected
