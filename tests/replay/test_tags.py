"""How often upstream is asked what tags name, and how many answers are stale."""

import json

import pytest
from click.testing import CliRunner

from edgeproxy.cli.main import main
from edgeproxy.interfaces import Access, Checked, Happening
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.manifest import Descriptor
from edgeproxy.oci.reference import Repository, Tag
from edgeproxy.replay.site import Site
from edgeproxy.replay.tags import fixed, learned

TAG = Tag(Repository("docker.io", "shop/app"), "latest")


def asked(when: float, number: int) -> Access:
    return Access(when, 0, "HEAD", "manifests", TAG, Digest.of(bytes([number])), 1, "hit", 1, 0.0)


def test_an_answer_is_stale_when_upstream_has_something_else() -> None:
    happenings: list[Happening] = [asked(0.0, 1), asked(5.0, 1), asked(8.0, 2), asked(12.0, 2), asked(13.0, 2)]
    assert fixed(happenings, 0.0, 10.0) == (5, 1, 1 / 5)
    assert fixed(happenings, 0.0, 1.0) == (5, 4, 0.0)
    assert fixed(happenings, 10.0, 10.0) == (2, 1, 0.0)


def test_what_upstream_said_counts_and_who_was_not_answered_does_not() -> None:
    missing = asked(1.0, 1)._replace(digest=None)
    found = Checked(2.0, TAG, Descriptor("", Digest.of(b"\x02"), 1))
    assert fixed([missing, asked(3.0, 1), found, asked(4.0, 2)], 0.0, 10.0) == (2, 0, 0.5)


def test_what_is_learned_asks_less_often_for_the_same_share_of_stale_answers() -> None:
    site = list(Site(3, days=16.0, services=120, nodes=40).happenings())
    since = site[0].time + 6 * 86400
    ours = learned(site, since, 0.01)
    assert ours.stale < 0.02
    spans = (7200.0, 3600.0, 1800.0, 900.0, 300.0)
    alike = next(each for each in (fixed(site, since, span) for span in spans) if each.stale <= ours.stale)
    assert ours.revalidations < 0.7 * alike.revalidations


@pytest.mark.parametrize("words", [["--json"], []])
def test_at_the_shell(words: list[str]) -> None:
    done = CliRunner().invoke(main, ["replay", "--generate", "5", "--days", "2", "--warm", "1d", "--tags", *words])
    assert done.exit_code == 0, done.output
    if words:
        document = json.loads(done.output)
        assert document[0]["policy"] == "fresh for 1 min"
        assert len(document[0]["revalidations"]) == 1
    else:
        assert "learned, 1.0% stale" in done.output
