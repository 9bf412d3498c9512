"""Every identity, action and visibility, with the expected answer written out."""

from collections.abc import Sequence

import pytest

from edgeproxy.access.identity import ANONYMOUS, Grant, Identity, Role
from edgeproxy.access.roles import Binding, Permitted, Reason, Subjects, Visibility, decide

APP, OTHER, HUB = "ghcr.io/acme/app", "ghcr.io/acme/other", "docker.io/library/nginx"
ALICE = Identity("alice")
BOB = Identity("bob", frozenset({"ci"}))
SITE = Identity("site-7")
ROOT = Identity("root")
MALLORY = Identity("mallory")
TOKEN = Identity("alice", grants=frozenset({Grant(APP, Role.PULLER), Grant(APP, Role.PUSHER)}))
PUSHES = Identity("alice", grants=frozenset({Grant(APP, Role.PUSHER)}))
EMPTY = Identity("alice", grants=frozenset())
NOBODYS = Identity("", grants=frozenset({Grant(APP, Role.PULLER)}))


def bind(role: Role, *to: str, on: Sequence[str] = ("*",), deny: bool = False) -> Binding:
    return Binding(role, Subjects.parse(to), tuple(on), deny)


RULES = [
    bind(Role.PULLER, "alice", on=["ghcr.io/acme/*"]),
    bind(Role.PUSHER, "group:ci", on=[APP]),
    bind(Role.REPLICATOR, "site-7", on=["ghcr.io/*"]),
    bind(Role.OPERATOR, "root"),
    bind(Role.PULLER, "mallory", deny=True),
    bind(Role.PUSHER, "*", on=[OTHER], deny=True),
]

# For each role in question: pull, push, replicate, operate; + is allowed, - refused.
PUBLIC_AND_PRIVATE = {
    # identity, repository       public  private  private, proven upstream
    ("anonymous", APP): ("+---", "----", "+---"),
    ("anonymous", OTHER): ("+---", "----", "+---"),
    ("anonymous", HUB): ("+---", "----", "+---"),
    ("alice", APP): ("+---", "+---", "+---"),
    ("alice", OTHER): ("+---", "+---", "+---"),
    ("alice", HUB): ("+---", "----", "+---"),
    ("bob of ci", APP): ("++--", "++--", "++--"),
    ("bob of ci", OTHER): ("+---", "----", "+---"),
    ("bob of ci", HUB): ("+---", "----", "+---"),
    ("site-7", APP): ("+++-", "+++-", "+++-"),
    ("site-7", OTHER): ("+---", "+---", "+---"),
    ("site-7", HUB): ("+---", "----", "+---"),
    ("root", APP): ("++++", "++++", "++++"),
    ("root", OTHER): ("+---", "+---", "+---"),
    ("root", HUB): ("++++", "++++", "++++"),
    ("mallory", APP): ("----", "----", "----"),
    ("mallory", OTHER): ("----", "----", "----"),
    ("mallory", HUB): ("----", "----", "----"),
    ("a token for app", APP): ("++--", "++--", "++--"),
    ("a token for app", OTHER): ("+---", "----", "+---"),
    ("a token for app", HUB): ("+---", "----", "+---"),
    ("a token to push", APP): ("++--", "-+--", "++--"),
    ("a token to push", OTHER): ("+---", "----", "+---"),
    ("a token to push", HUB): ("+---", "----", "+---"),
    ("a token for nothing", APP): ("+---", "----", "+---"),
    ("a token for nothing", OTHER): ("+---", "----", "+---"),
    ("a token for nothing", HUB): ("+---", "----", "+---"),
    ("a token of nobody", APP): ("+---", "+---", "+---"),
    ("a token of nobody", OTHER): ("+---", "----", "+---"),
    ("a token of nobody", HUB): ("+---", "----", "+---"),
}
WHO = {
    "anonymous": ANONYMOUS,
    "alice": ALICE,
    "bob of ci": BOB,
    "site-7": SITE,
    "root": ROOT,
    "mallory": MALLORY,
    "a token for app": TOKEN,
    "a token to push": PUSHES,
    "a token for nothing": EMPTY,
    "a token of nobody": NOBODYS,
}


@pytest.mark.parametrize(("who", "name"), PUBLIC_AND_PRIVATE)
def test_every_identity_action_and_visibility(who: str, name: str) -> None:
    cases = [(Visibility.PUBLIC, False), (Visibility.PRIVATE, False), (Visibility.PRIVATE, True)]
    found = tuple(
        "".join("+" if decide(WHO[who], role, name, visibility, proven, RULES).allowed else "-" for role in Role)
        for visibility, proven in cases
    )
    assert found == PUBLIC_AND_PRIVATE[who, name]


@pytest.mark.parametrize("identity", WHO.values(), ids=WHO)
def test_without_a_rule_what_is_public_may_be_pulled_and_nothing_else(identity: Identity) -> None:
    for role in Role:
        assert decide(identity, role, HUB, Visibility.PUBLIC, False, []).allowed == (role is Role.PULLER)
        assert not decide(identity, role, HUB, Visibility.PRIVATE, False, []).allowed


def test_anonymous_pulls_may_be_forbidden() -> None:
    rules = [bind(Role.PULLER, "anonymous", deny=True)]
    assert not decide(ANONYMOUS, Role.PULLER, HUB, Visibility.PUBLIC, True, rules).allowed
    assert decide(ALICE, Role.PULLER, HUB, Visibility.PUBLIC, False, rules).allowed


def test_private_content_may_be_opened_to_everybody_on_site() -> None:
    rules = [bind(Role.PULLER, "*", on=["ghcr.io/acme/*"])]
    assert decide(ANONYMOUS, Role.PULLER, APP, Visibility.PRIVATE, False, rules).allowed
    assert decide(ALICE, Role.PULLER, APP, Visibility.PRIVATE, False, rules).allowed
    assert not decide(ANONYMOUS, Role.PULLER, HUB, Visibility.PRIVATE, False, rules).allowed


def test_whoever_is_authenticated_may_be_meant() -> None:
    rules = [bind(Role.PULLER, "authenticated")]
    assert decide(ALICE, Role.PULLER, APP, Visibility.PRIVATE, False, rules).allowed
    assert not decide(ANONYMOUS, Role.PULLER, APP, Visibility.PRIVATE, False, rules).allowed


@pytest.mark.parametrize("word", ["*", "anonymous", "authenticated", "group:ci"])
def test_a_name_that_reads_like_a_word_of_the_rules_is_only_a_name(word: str) -> None:
    """Names come out of certificates and tokens, whose owners may have chosen them."""
    rules = [bind(Role.OPERATOR, "group:ci"), bind(Role.OPERATOR, "anonymous")]
    assert not decide(Identity(word), Role.OPERATOR, APP, Visibility.PUBLIC, False, rules).allowed


@pytest.mark.parametrize("pattern", ["ghcr.io/acme/app", "ghcr.io/*", "*/app", "ghcr.io/acme/ap?", "*"])
def test_patterns_match_the_whole_name(pattern: str) -> None:
    rules = [bind(Role.PULLER, "alice", on=[pattern])]
    assert decide(ALICE, Role.PULLER, APP, Visibility.PRIVATE, False, rules).allowed
    for name in ("ghcr.io/acme/app2" if pattern[-1] not in "*" else "", f"x{APP}\nx"):
        if pattern != "*":
            assert not decide(ALICE, Role.PULLER, name, Visibility.PRIVATE, False, rules).allowed


def test_a_verdict_says_why() -> None:
    assert decide(ANONYMOUS, Role.PULLER, APP, Visibility.PRIVATE, False, RULES).reason is Reason.PRIVATE
    assert decide(ANONYMOUS, Role.PUSHER, APP, Visibility.PUBLIC, False, RULES).reason is Reason.ROLE
    assert decide(MALLORY, Role.PULLER, APP, Visibility.PUBLIC, False, RULES).reason is Reason.DENIED


@pytest.mark.parametrize(
    ("name", "permitted"), [(HUB, True), ("docker.io/evil/miner", False), (APP, True), ("quay.io/a/b", False)]
)
def test_deny_wins_over_allow_for_what_may_be_had_at_all(name: str, permitted: bool) -> None:
    assert (name in Permitted(["docker.io/*", "ghcr.io/*"], ["*/evil/*"])) is permitted


def test_without_lists_all_is_permitted() -> None:
    assert HUB in Permitted()
    assert HUB not in Permitted([])
