"""Tokens of ours: only ours, only as they were, only for as long as they hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.access.issuer import Issuer, TokenInvalid, new_key

NOW = 1_700_000_000.5
KEY = new_key()
DOCUMENTS = st.dictionaries(st.text(max_size=10), st.text(max_size=50) | st.integers() | st.lists(st.text(max_size=5)))


@given(DOCUMENTS)
def test_what_was_sealed_comes_back_and_shows_nothing(document: dict[str, object]) -> None:
    issuer = Issuer(KEY, 300)
    assert issuer.open(issuer.seal(document, NOW), NOW + 299) == (document, 1_700_000_300.0)


def test_a_secret_in_it_is_not_to_be_read() -> None:
    assert "planted" not in Issuer(KEY, 300).seal({"own": "planted"}, NOW)


def test_it_ends() -> None:
    issuer = Issuer(KEY, 300)
    with pytest.raises(TokenInvalid, match="expired"):
        issuer.open(issuer.seal({}, NOW), NOW + 300)


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_token_that_was_changed_is_none(position: int, change: int) -> None:
    issuer = Issuer(KEY, 300)
    token = issuer.seal({"name": "alice"}, NOW)
    at = position % len(token)
    changed = token[:at] + chr((ord(token[at]) + change) % 128) + token[at + 1 :]
    try:
        found = issuer.open(changed, NOW)
    except TokenInvalid:
        return
    assert found[0] == {"name": "alice"}  # base64 has bits to spare at its end


@given(st.text(max_size=200))
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(TokenInvalid):
        Issuer(KEY, 300).open(text, NOW)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(TokenInvalid, match="none of ours"):
        Issuer(new_key(), 300).open(Issuer(KEY, 300).seal({}, NOW), NOW)
