"""The boxes of MP4 and its relatives are found as they say, however they say it, and nonsense ends the walk."""

import io
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.media.boxes import Box, boxes, boxes_in, find_body, to_box
from impasto.media.stream_facts import Crop, stream_facts
from impasto.media.truncation import truncation_reason
from tests.support.clips import H264, ffmpeg, moving_source, with_clap


def large(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, name, len(body) + 16) + body


def to_the_end(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 0, name) + body


Form = Callable[[bytes, bytes], bytes]
FORMS: dict[str, Form] = {"short": to_box, "large": large, "to the end": to_the_end}


def walk(data: bytes) -> list[Box]:
    return list(boxes(io.BytesIO(data)))


def test_boxes_lie_side_by_side() -> None:
    data = (
        to_box(b"ftyp", b"isom") + large(b"mdat", b"12345") + to_box(b"uuid", bytes(range(20))) + to_box(b"free", b"")
    )
    assert walk(data) == [
        Box(b"ftyp", 0, 8, 12),
        Box(b"mdat", 12, 28, 33),
        Box(b"uuid", 33, 41, 61),
        Box(b"free", 61, 69, 69),
    ]
    assert dict(boxes_in(data))[b"uuid"] == bytes(range(20))


def test_a_box_without_a_size_goes_on_to_the_end_of_what_it_lies_in() -> None:
    inner = to_the_end(b"stsd", b"rest")
    data = to_box(b"moov", inner) + to_the_end(b"mdat", b"frames")
    moov, mdat = walk(data)
    assert (mdat.end, mdat.is_open, moov.is_open) == (len(data), True, False)
    assert list(boxes(io.BytesIO(data), moov.body, moov.end)) == [Box(b"stsd", 8, 16, 20, is_open=True)]
    assert find_body(io.BytesIO(data), b"moov", b"stsd", most_bytes=99) == b"rest"


def test_a_box_that_is_cut_off_says_where_it_would_end() -> None:
    assert walk(struct.pack(">I4s", 1 << 31, b"mdat") + b"x") == [Box(b"mdat", 0, 8, 1 << 31)]
    assert walk(struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1)) == [Box(b"mdat", 0, 16, 2**64 - 1)]
    assert list(boxes_in(struct.pack(">I4s", 99, b"udta") + b"xy")) == [(b"udta", b"xy")]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\0\0\0",
        struct.pack(">I4s", 7, b"free"),
        struct.pack(">I4s", 2, b"free") + bytes(16),
        struct.pack(">I4s", 1, b"mdat") + b"\0\0\0",
        struct.pack(">I4sQ", 1, b"mdat", 15),
        struct.pack(">I4sQ", 1, b"mdat", 0),
    ],
)
def test_nonsense_ends_the_walk(nonsense: bytes) -> None:
    assert [box.name for box in walk(to_box(b"ftyp", b"") + nonsense)] == [b"ftyp"]


def test_of_a_row_without_end_the_first_boxes_are_looked_at() -> None:
    row = to_box(b"free", b"") * 300_000
    assert 100_000 < len(walk(row)) < 300_000
    assert find_body(io.BytesIO(row + to_box(b"moov", b"x")), b"moov", most_bytes=9) is None


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_box_is_found_by_the_names_around_it(form: Form) -> None:
    """The boxes of a `meta` come after its version and flags."""
    data = to_box(b"ftyp", b"avif") + form(
        b"meta", bytes(4) + to_box(b"hdlr", b"") + form(b"iprp", form(b"ipco", b"x"))
    )
    file = io.BytesIO(data)
    assert find_body(file, b"meta", b"iprp", b"ipco", most_bytes=9) == b"x"
    assert find_body(file, b"ftyp", most_bytes=2) == b"av"
    assert find_body(file, b"meta", b"hdlr", b"none", most_bytes=9) is None
    assert find_body(file, b"moov", most_bytes=9) is None


@st.composite
def nearly_boxes(draw: st.DrawFn) -> bytes:
    """Bytes with sizes that come close to making sense."""
    sizes = st.sampled_from([0, 1, 2, 7, 8, 9, 16, 24, 100, 2**31, 2**32 - 1]) | st.integers(0, 64)
    names = st.sampled_from([b"moov", b"meta", b"uuid", b"mdat", b"trak"])
    parts = st.tuples(sizes, names, st.binary(max_size=24)).map(lambda part: struct.pack(">I4s", *part[:2]) + part[2])
    return b"".join(draw(st.lists(parts | st.binary(max_size=9), max_size=8)))


@given(nearly_boxes())
def test_any_bytes_are_walked_from_left_to_right(data: bytes) -> None:
    found = walk(data)
    assert all(box.start + 8 <= box.body <= box.end and box.body <= len(data) for box in found)
    assert all(box.end == following.start for box, following in pairwise(found))
    for names in ((b"moov",), (b"meta", b"moov", b"trak")):
        body = find_body(io.BytesIO(data), *names, most_bytes=1 << 20)
        assert body is None or len(body) <= len(data)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_reader_of_a_film_takes_every_form_of_header(tmp_path: Path, form: Form) -> None:
    """A `moov` at the end of a file may say its size in each way."""
    plain, clap, path = (tmp_path / f"{name}.mov" for name in ("plain", "clap", "a"))
    ffmpeg(*moving_source(seconds=0.2), *H264, plain)
    with_clap(plain, clap, 48, 40, -8, -4)
    data = clap.read_bytes()
    movie = next(box for box in walk(data) if box.name == b"moov")
    assert movie.end == len(data)
    path.write_bytes(data[: movie.start] + form(b"moov", data[movie.body :]))
    assert stream_facts(path, 0).crop == Crop(0, 8, 0, 16)
    assert truncation_reason(path) is None
