from pathlib import Path

import pytest

from edgeproxy.cache.rules import Rule, Rules
from edgeproxy.oci.reference import Repository, Tag
from tests.test_config import loaded, refusal


def tag(text: str) -> Tag:
    name, _, own = text.rpartition(":")
    registry, _, path = name.partition("/")
    return Tag(Repository(registry, path), own)


EVERYTHING = Rule("*", fresh=1.0)
NGINX = Rule("docker.io/library/nginx:*", fresh=2.0)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*", "docker.io/library/nginx:latest", None),
        ("*:latest", "docker.io/library/nginx:latest", "docker.io/library/nginx:1"),
        ("docker.io/*", "docker.io/a/b/c:1", "ghcr.io/a:1"),
        ("docker.io/library/nginx:*", "docker.io/library/nginx:1", "docker.io/library/nginx-x:1"),
        ("*/nginx:1.?", "ghcr.io/nginx:1.2", "ghcr.io/nginx:1.27"),
        ("ghcr.io/a:v[0-9]*", "ghcr.io/a:v1", "ghcr.io/a:vx"),
        ("docker.io/library/nginx:1", "docker.io/library/nginx:1", "docker.io/library/nginx:12"),
        ("docker.io/library/nginx:1", "docker.io/library/nginx:1", "docker-io/library/nginx:1"),
    ],
)
def test_a_rule_matches_the_whole_name(pattern: str, matching: str, other: str | None) -> None:
    rule = Rule(pattern, fresh=7.0)
    rules = Rules([rule])
    assert rules.of(tag(matching)) == rule
    if other:
        assert rules.of(tag(other)).fresh is None


def test_the_first_rule_that_matches_decides() -> None:
    nginx, other = tag("docker.io/library/nginx:1"), tag("docker.io/library/redis:1")
    assert Rules([NGINX, EVERYTHING]).of(nginx) == NGINX
    assert Rules([EVERYTHING, NGINX]).of(nginx) == EVERYTHING
    assert Rules([NGINX, EVERYTHING]).of(other) == EVERYTHING


def test_what_no_rule_matches_is_left_to_the_policy() -> None:
    found = Rules().of(tag("docker.io/library/nginx:1"))
    assert (found.fresh, found.max_stale) == (None, None)


def test_answers_are_remembered_without_end_of_memory() -> None:
    rules = Rules([NGINX])
    many = [tag(f"docker.io/library/nginx:{number}") for number in range(10_050)]
    for _ in range(2):
        assert {rules.of(each) for each in many} == {NGINX}
    assert len(rules._known) <= 10_000


def test_a_rule_s_bounds(tmp_path: Path) -> None:
    text = '[[rule]]\nmatch = "*:1.*"\nkept_for = "{}"\nunused_for = "30d"\n'
    (rule,) = loaded(tmp_path, text.format("30d")).rule
    assert rule.rule() == Rule("*:1.*", kept_for=30 * 86400.0, unused_for=30 * 86400.0)
    assert "kept_for cannot go after unused_for, which is shorter" in refusal(tmp_path, text.format("31d"))
