"""The name that a client's certificate gives."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.access.certificates import presented

SUBJECT = {"subject": ((("organizationName", "edge"),), (("commonName", "node-1"),))}
NAMES = {"subjectAltName": (("IP Address", "10.0.0.1"), ("DNS", "node.test"), ("URI", "spiffe://site/node"))}


@pytest.mark.parametrize(
    ("certificate", "subject", "alternative"),
    [
        ({}, "", ""),
        (SUBJECT, "node-1", ""),
        (NAMES, "", "node.test"),
        (SUBJECT | NAMES, "node-1", "node.test"),
        ({"subjectAltName": (("URI", "spiffe://site/node"), ("DNS", "node.test"))}, "", "spiffe://site/node"),
        ({"subjectAltName": (("email", "me@node.test"),)}, "", "me@node.test"),
        ({"subjectAltName": (("IP Address", "10.0.0.1"), ("DirName", ((("commonName", "a"),),)))}, "", ""),
        ({"subject": ((("organizationName", "edge"),),)}, "", ""),
        ({"subject": ((("commonName", "a"), ("userId", "b")),)}, "a", ""),
        ({"subject": ((("commonName", "a"), ("commonName", "b")),)}, "", ""),
        ({"subject": ((("commonName", "a"),), (("commonName", "a"),))}, "", ""),
        ({"subject": ((("commonName", ""),),), "subjectAltName": (("DNS", ""), ("DNS", "b"))}, "", ""),
        ({"subject": ((("commonName", "Zoë of 東京"),),)}, "Zoë of 東京", ""),
    ],
)
def test_a_certificate_gives_one_name_or_none(certificate: dict[str, Any], subject: str, alternative: str) -> None:
    assert (presented(certificate, "subject"), presented(certificate, "san")) == (subject, alternative)


@given(st.text(), st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Cs"]), st.text())
def test_what_cannot_be_seen_is_in_no_name(before: str, unseen: str, after: str) -> None:
    """`admin\\0.evil.test` is neither of the two."""
    name = before + unseen + after
    certificate = {"subject": ((("commonName", name),),), "subjectAltName": (("DNS", name), ("DNS", "b"))}
    assert presented(certificate, "subject") == presented(certificate, "san") == ""
