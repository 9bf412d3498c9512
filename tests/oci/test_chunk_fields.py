"""The fields of a blob in chunks: what is held of it, and a chunk's checksum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.oci.content_digest import content_digest, crc32c, parse_content_digest
from edgeproxy.oci.errors import RequestInvalid
from edgeproxy.oci.held import held, parse_held

MIB = 1024 * 1024


def test_the_text_of_what_is_held_has_the_last_byte() -> None:
    assert held([(0, 4 * MIB), (8 * MIB, 10 * MIB)]) == "0-4194303,8388608-10485759"
    assert held([]) == ""
    assert parse_held("0-4194303,8388608-10485759") == [(0, 4 * MIB), (8 * MIB, 10 * MIB)]
    assert parse_held(" 5-5 , 0-0") == [(5, 6), (0, 1)]
    assert parse_held(" ") == []


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**12)), max_size=50))
def test_what_is_said_is_read(lengths: list[tuple[int, int]]) -> None:
    spans = [(start, start + length) for start, length in lengths]
    assert parse_held(held(spans)) == spans


def test_of_very_many_spans_the_first_are_told() -> None:
    spans = [(at, at + 1) for at in range(10**6, 2 * 10**6, 2)]
    text = held(spans)
    assert 4000 < len(text) <= 4096
    assert parse_held(text) == spans[: text.count(",") + 1]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "1",
        "1-",
        "-1",
        "2-1",
        "0-1,",
        ",",
        "0-1;2-3",
        "0-1,x",
        f"0-{10**18}",
        "\u0660-\u0661",
        "0-1," * 2000 + "0-1",
    ],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid):
        parse_held(text)


def test_a_checksum_is_the_one_of_rfc_3720() -> None:
    """Appendix B.4: 32 bytes of zeros, of ones, and 0 to 31."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert content_digest(bytes(32)) == "crc32c=:ipE2qg==:"


@given(st.binary(max_size=100))
def test_a_checksum_that_is_written_is_read(body: bytes) -> None:
    assert parse_content_digest(content_digest(body)) == crc32c(body)


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("", None),
        ("sha-256=:AAAA:", None),
        ("sha-256=:AA=A:, md5, x=?1", None),
        ("sha-256=:AAAA:, crc32c=:ipE2qg==:", 0x8A9136AA),
        ("crc32c=:ipE2qg==:;q=1 ,unixsum=:AAA=:", 0x8A9136AA),
        ("crc32c=:AAAAAA==:, crc32c=:ipE2qg==:", 0x8A9136AA),
    ],
)
def test_other_algorithms_are_passed_over(field: str, found: int | None) -> None:
    assert parse_content_digest(field) == found


@pytest.mark.parametrize(
    "field", ["crc32c", "crc32c=", "crc32c=::", "crc32c=:AAA=:", "crc32c=:AAAAAAA=:", "crc32c=:A:", "crc32c=ipE2qg=="]
)
def test_what_is_no_checksum_is_refused(field: str) -> None:
    with pytest.raises(RequestInvalid):
        parse_content_digest(field)
