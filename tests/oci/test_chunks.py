"""The words of a blob in chunks: what is held of it, a chunk's checksum, and what it unpacks to."""

import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.oci.chunks import check, read_blob, read_held, unpack, write_blob, write_checksum, write_held
from edgeproxy.oci.digest import Digest
from edgeproxy.oci.errors import BlobUploadInvalid, DigestInvalid, RequestInvalid

MIB = 1024 * 1024
BODY = os.urandom(3000) + bytes(3000)
SIZE = len(BODY)
EMPTY = Digest.of(b"")


def packed(body: bytes = BODY, window_log: int = 20, *, sized: bool = True, checked: bool = False) -> bytes:
    """A frame that says how long its content is, or does not."""
    terms = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=sized, write_checksum=checked)
    compressor = zstandard.ZstdCompressor(compression_params=terms)
    if sized:
        return compressor.compress(body)
    stream = compressor.compressobj()
    return stream.compress(body) + stream.flush()


def unpacked(body: bytes, encoding: str = "zstd", size: int = SIZE) -> bytes:
    return unpack(body, encoding, write_checksum(body), size)


# what is held


def test_the_text_of_what_is_held_has_the_last_byte() -> None:
    assert write_held([(0, 4 * MIB), (8 * MIB, 10 * MIB)]) == "0-4194303,8388608-10485759"
    assert write_held([(0, 0), (5, 6), (7, 7)]) == "5-5"
    assert write_held([]) == ""
    assert read_held("0-4194303, 8388608-10485759") == [(0, 4 * MIB), (8 * MIB, 10 * MIB)]
    assert read_held(" ") == []


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**12)), max_size=50))
def test_what_is_said_is_read(lengths: list[tuple[int, int]]) -> None:
    spans = [(start, start + length) for start, length in lengths]
    assert read_held(write_held(spans)) == spans


def test_of_very_many_spans_the_first_are_told() -> None:
    """The field fits into a header, whatever was sent."""
    spans = [(at, at + 1) for at in range(10**6, 2 * 10**6, 2)]
    text = write_held(spans)
    assert 4000 < len(text) <= 4096
    assert read_held(text) == spans[: text.count(",") + 1]


@pytest.mark.parametrize(
    "text", ["x", "1", "1-", "-1", "2-1", "0-1,", ",", "0-1;2-3", "0-1,x", f"0-{10**18}", "\u0660-1"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RequestInvalid):
        read_held(text)


def test_a_blob_is_a_digest_and_a_size() -> None:
    assert read_blob(write_blob(EMPTY, 17)) == (EMPTY, 17)
    for text in (
        "",
        EMPTY,
        f"{EMPTY};size=",
        f"{EMPTY};size=-1",
        f"{EMPTY};size=\u0661",
        f"{EMPTY};length=1",
        ";size=1",
    ):
        with pytest.raises(RequestInvalid):
            read_blob(text)
    with pytest.raises(DigestInvalid):
        read_blob("md5:x;size=1")


# checksums


def test_a_checksum_is_the_one_of_rfc_3720() -> None:
    """Appendix B.4: 32 bytes of zeros."""
    assert write_checksum(bytes(32)) == "crc32c=:ipE2qg==:"
    for field in ("crc32c=:ipE2qg==:", "sha-256=:AAAA:, crc32c=:ipE2qg==:", "crc32c=:ipE2qg==:,md5=:AA:"):
        check(bytes(32), field)


@pytest.mark.parametrize("field", ["", "sha-256=:AAAA:", "crc32c", "crc32c=ipE2qg==", "xcrc32c=:ipE2qg==:"])
def test_without_one_nothing_is_believed(field: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        check(bytes(32), field)
    assert refused.value.status == 400


@pytest.mark.parametrize("field", ["crc32c=::", "crc32c=:ipE2qh==:", "crc32c=:AAAAAA==:", "crc32c=:x:"])
def test_another_one_is_wrong(field: str) -> None:
    with pytest.raises(DigestInvalid):
        check(bytes(32), field)


# unpacking


@pytest.mark.parametrize("sized", [True, False])
def test_a_frame_of_exactly_the_range(sized: bool) -> None:
    assert unpacked(packed(sized=sized)) == BODY
    assert unpacked(packed(sized=sized, checked=True)) == BODY
    assert unpacked(BODY, "") == unpacked(BODY, "identity") == BODY


FRAME, STREAMED = packed(), packed(sized=False)
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        BODY,
        FRAME[:-1],
        STREAMED[:-1],
        STREAMED[: len(STREAMED) // 2],
        packed(checked=True)[:-4],
        packed(checked=True)[:-4] + b"wrng",
        packed(sized=False, checked=True)[:-1],
        FRAME + b"x",
        STREAMED + b"x",
        FRAME + FRAME,
        FRAME + packed(b""),
        packed(BODY[:3000]) + packed(BODY[3000:]),
        SKIPPABLE + FRAME,
        FRAME + SKIPPABLE,
        packed(BODY[1:]),
        packed(BODY + b"x"),
        packed(BODY[1:], sized=False),
        packed(BODY + b"x", sized=False),
        packed(b""),
        packed(b"", sized=False),
        packed(window_log=24, sized=False),
    ],
    ids=range(22),
)
def test_what_is_not_one_whole_frame_of_that_length_is_refused(body: bytes) -> None:
    with pytest.raises(BlobUploadInvalid) as refused:
        unpacked(body)
    assert refused.value.status == 400


@pytest.mark.parametrize("encoding", ["", "identity"])
@pytest.mark.parametrize("body", [BODY[1:], BODY + b"x", b""])
def test_without_compression_it_is_as_long_as_its_range(encoding: str, body: bytes) -> None:
    with pytest.raises(BlobUploadInvalid):
        unpacked(body, encoding)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd, zstd", "zstd,gzip"])
def test_other_encodings_are_not_known(encoding: str) -> None:
    with pytest.raises(BlobUploadInvalid, match="zstd"):
        unpacked(BODY, encoding)


@pytest.mark.parametrize("sized", [True, False])
def test_a_bomb_takes_no_more_memory_than_its_range_says(sized: bool) -> None:
    """A few kilobytes that would become a quarter of a gigabyte."""
    stream = zstandard.ZstdCompressor().compressobj(size=256 * MIB if sized else -1)
    bomb = b"".join([stream.compress(bytes(MIB)) for _ in range(256)]) + stream.flush()
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(BlobUploadInvalid):
            unpacked(bomb, size=2 * MIB)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


def test_a_frame_that_promises_too_much_is_not_believed() -> None:
    """No memory is taken because a header asks for it."""
    header = b"\x28\xb5\x2f\xfd" + b"\xe0" + (1 << 45).to_bytes(8, "little")
    with pytest.raises(BlobUploadInvalid, match="unpacks to"):
        unpacked(header + FRAME[7:])
