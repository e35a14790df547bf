"""A file that was cut off is told from a whole one by what it says of itself."""

import struct
from pathlib import Path

import pytest

from impasto.errors import InputError
from impasto.media import video_reader
from impasto.media.truncation import truncation_reason
from tests.support.mutants import Seed, make_seeds

TELLING = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".ts", ".wmv", ".flv", ".ogv", ".gif")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Seed]:
    return [seed for seed in make_seeds(tmp_path_factory.mktemp("seeds")) if seed.kind == "video"]


def test_whole_files_miss_nothing(tmp_path: Path, seeds: list[Seed]) -> None:
    for seed in seeds:
        path = tmp_path / f"whole{seed.suffix}"
        path.write_bytes(seed.data)
        assert truncation_reason(path) is None, seed.name
        found = video_reader.scan(path)
        assert found.damage is None, seed.name
        assert found.frame_count == seed.frame_count, seed.name
        if "Theora" in seed.name:  # By empty packets it says that the last picture stays.
            assert (found.times, found.last_duration) == ((0, 1, 3), 3)


def test_files_that_were_cut_say_so(tmp_path: Path, seeds: list[Seed]) -> None:
    telling = [seed for seed in seeds if seed.suffix in TELLING]
    assert {seed.suffix for seed in telling} == set(TELLING)
    for seed in telling:
        path = tmp_path / f"cut{seed.suffix}"
        for left in (len(seed.data) - 3, len(seed.data) * 3 // 4 + 1):
            path.write_bytes(seed.data[:left])
            found = truncation_reason(path)
            assert found is not None and found.startswith("the file "), (seed.name, left)
            try:
                assert video_reader.scan(path).damage is not None, (seed.name, left)
            except InputError:  # Not one frame is left, or no index.
                assert left < len(seed.data) - 3 or seed.suffix in (".mp4", ".mov"), seed.name


def test_the_bytes_are_counted(tmp_path: Path, seeds: list[Seed]) -> None:
    for seed in seeds:
        if seed.suffix in (".mp4", ".mkv", ".avi", ".wmv"):
            path = tmp_path / f"cut{seed.suffix}"
            path.write_bytes(seed.data[:-1])
            assert truncation_reason(path) == "the file ends 1 byte before its header says", seed.name


def test_what_does_not_know_its_length_misses_nothing(tmp_path: Path, seeds: list[Seed]) -> None:
    """A recording that was never finished, and what is behind the end."""
    for seed in seeds:
        path = tmp_path / f"open{seed.suffix}"
        data = bytearray(seed.data)
        if seed.suffix == ".avi":
            data[4:8] = b"\xff\xff\xff\xff"
        elif seed.suffix in (".mkv", ".webm"):
            start = data.index(b"\x18\x53\x80\x67") + 4
            data[start : start + 8] = b"\x01" + b"\xff" * 7
        elif seed.suffix in (".gif", ".mp4"):
            data += b"more" if seed.suffix == ".gif" else b"\0\0\0\0mdat" + bytes(100)
        else:
            continue
        path.write_bytes(data if seed.suffix in (".gif", ".mp4") else data[:-10])
        assert truncation_reason(path) is None, seed.name


def test_what_stands_behind_the_end_is_not_missing(tmp_path: Path, seeds: list[Seed]) -> None:
    """Servers, taggers and disks leave some there, and some count the header of an AVI twice."""
    behind = (
        b"<html>not found</html>",
        b"TAG" + b"x" * 125,
        b"\xff\xd8\xff\xe0" + bytes(100),
        b"\xff" * 64,
        bytes(512),
    )
    checked = set()
    for seed in seeds:
        path = tmp_path / f"more{seed.suffix}"
        for more in behind if seed.suffix in (".mp4", ".mov", ".mkv", ".ts") else ():
            path.write_bytes(seed.data + more)
            assert truncation_reason(path) is None, (seed.name, more)
            checked.add(seed.suffix)
        if seed.suffix == ".avi":
            path.write_bytes(seed.data[:4] + struct.pack("<I", len(seed.data)) + seed.data[8:])
            assert truncation_reason(path) is None, seed.name
            checked.add(seed.suffix)
    assert checked == {".mp4", ".mov", ".mkv", ".ts", ".avi"}


@pytest.mark.parametrize("data", [b"", b"R", b"RIFF", b"GIF89a", b"\x1a\x45\xdf\xa3", b"OggS", b"G" * 800, b"FLV\1"])
def test_rubbish_is_passed_over(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "rubbish"
    path.write_bytes(data)
    truncation_reason(path)
    assert truncation_reason(tmp_path / "nowhere") is None
