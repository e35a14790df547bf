"""What goes along with the pictures arrives, in its place, or is named."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from impasto.media.timing import Timing
from impasto.media.tracks import Track, Tracks, read_tracks
from impasto.media.video_reader import scan
from impasto.media.video_writer import VideoWriter
from tests.support.clips import H264, ffmpeg, moving_source, numbered, sine

SUBTITLES = """1
00:00:00,200 --> 00:00:00,900
Guten <i>Tag</i>

2
00:00:01,200 --> 00:00:01,800
= ; # \\ end
"""

METADATA = """;FFMETADATA1
title=A film\\; with \\= signs
artist=Me \\# you
creation_time=2020-01-02T03:04:05.000000Z
location=+48.1000+011.5000/
copyright=2020, no one
flavour=sour
[CHAPTER]
TIMEBASE=1/1000
START=0
END=900
title=One\\; half
[CHAPTER]
TIMEBASE=1/1000
START=900
END=2000
title=Two
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A film with all that a film may have, that begins at no zero."""
    (tmp_path / "s.srt").write_text(SUBTITLES)
    (tmp_path / "m.txt").write_text(METADATA)
    path = tmp_path / "source.mkv"
    ffmpeg(
        *(*moving_source(seconds=2), *sine(), "-i", tmp_path / "s.srt", "-f", "ffmetadata", "-i", tmp_path / "m.txt"),
        *("-map", "0", "-map", "1", "-map", "2", "-map_metadata:g", "3:g", "-map_chapters", "3"),
        *("-metadata:s:a:0", "language=fra", "-metadata:s:s:0", "language=deu", "-c:s", "srt", "-c:a", "aac"),
        *("-attach", tmp_path / "s.srt", "-metadata:s:t", "mimetype=text/plain", *H264, path),
    )
    return path


def write(path: Path, timing: Timing, tracks: Tracks, part: tuple[Fraction, Fraction] | None = None) -> list[str]:
    with VideoWriter(path, (48, 64), timing, tracks=tracks, part=part, preset="ultrafast") as writer:
        for index in range(timing.frame_count):
            writer.write(numbered(index % 20))
    return writer.notes


def subtitles(path: Path) -> list[tuple[float, str]]:
    """(time, text) of the subtitles of the first stream of them."""
    found = []
    with av.open(str(path)) as container:
        stream: Any = container.streams.subtitles[0]
        for packet in container.demux(stream):
            for item in packet.decode():
                text = item.dialogue.decode() if hasattr(item, "dialogue") else str(item)
                if text.strip():
                    found.append((round(float(packet.pts * packet.time_base), 2), text))
    return found


def chapters(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as container:
        return [
            (
                round(float(item["start"] * item["time_base"]), 3),
                round(float(item["end"] * item["time_base"]), 3),
                item["metadata"]["title"],
            )
            for item in container.chapters()
        ]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_all_of_it_goes_along(tmp_path: Path, source: Path, suffix: str) -> None:
    path = tmp_path / f"painted{suffix}"
    notes = write(path, scan(source).timing, read_tracks(source))
    assert [(t, "Tag" in text or "end" in text) for t, text in subtitles(path)] == [(0.2, True), (1.2, True)]
    assert chapters(path) == [(0.0, 0.9, "One; half"), (0.9, 2.0, "Two")]
    with av.open(str(path)) as container:
        told = {key.casefold(): value for key, value in container.metadata.items()}
        if suffix in (".mp4", ".mkv"):
            languages = [s.language for s in (*container.streams.audio, *container.streams.subtitles)]
            assert languages == ["fra", "deu"]
        attached = len(container.streams.attachments)
    assert told["title"] == "A film; with = signs" and told["artist"] == "Me # you"
    assert told["creation_time"].startswith("2020-01-02T03:04:05")
    assert told["location"].startswith("+48.1") and told["copyright"] == "2020, no one"
    kept_all = suffix in (".mkv", ".webm")
    assert ("flavour" in told) == kept_all
    expected = {
        ".mp4": [
            "subtitles are made mov_text from subrip",
            "attached files (1) are left out",
            "no place for",
            "flavour",
        ],
        ".mov": [
            "subtitles are made mov_text from subrip",
            "attached files (1) are left out",
            "no place for",
            "flavour",
        ],
        ".mkv": [],
        ".webm": ["encoded anew, from aac to opus", "subtitles are made webvtt", "attached files (1) are left out"],
    }[suffix]
    assert all(any(what in note for note in notes) for what in expected), notes
    assert suffix != ".mkv" or notes == []
    assert attached == (suffix == ".mkv")
    assert all("\n" not in note for note in notes)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_of_a_part_what_lies_in_it(tmp_path: Path, source: Path, suffix: str) -> None:
    path = tmp_path / f"painted{suffix}"
    timing = scan(source).timing.part(20, 50)  # from 0.8 s on
    write(path, timing, read_tracks(source), part=timing.span_seconds)
    assert [t for t, _ in subtitles(path)] == [0.4]
    assert chapters(path) == [(0.0, 0.1, "One; half"), (0.1, 1.2, "Two")]
    assert abs(scan(path).times[0] * scan(path).time_base) < Fraction(1, 100)


def test_everything_moves_with_a_start_that_is_not_zero(tmp_path: Path, source: Path) -> None:
    late, path = tmp_path / "late.ts", tmp_path / "painted.mkv"
    ffmpeg("-i", source, "-map", "0:v", "-map", "0:a", "-c", "copy", "-output_ts_offset", "5", late)
    tracks, found = read_tracks(late), scan(late)
    assert tracks.start_seconds > 4
    write(path, found.timing, tracks)
    assert scan(path).times[0] * scan(path).time_base < Fraction(1, 10)


def test_metadata_is_stripped(tmp_path: Path, source: Path) -> None:
    path = tmp_path / "painted.mkv"
    write(path, scan(source).timing, read_tracks(source).without_metadata())
    with av.open(str(path)) as container:
        assert {key.casefold() for key in container.metadata} <= {"encoder"}
        assert len(container.streams.attachments) == 0
    assert len(chapters(path)) == 2 and len(subtitles(path)) == 2


def test_a_gif_takes_none_of_it(tmp_path: Path, source: Path) -> None:
    notes = write(tmp_path / "a.gif", scan(source).timing.part(0, 3), read_tracks(source))
    assert "the sound and the subtitles and the chapters are left out: a GIF holds none" in notes


def test_subtitles_that_are_pictures_go_where_they_can() -> None:
    tracks = Tracks(Path("disc.mkv"), subtitles=(Track(1, "hdmv_pgs_subtitle", kind="s"),))
    _, notes = tracks.arguments(".mp4", None)
    assert notes == ["subtitles of the kind hdmv_pgs_subtitle are left out: mp4 does not hold them"]
    arguments, notes = tracks.arguments(".mkv", None)
    assert arguments[-6:] == ["-map", "1:s:1", "-c:s:0", "copy", "-disposition:s:0", "0"] and notes == []


MARKED: dict[str, list[tuple[str | None, str | None, set[str]]]] = {
    "a": [("deu", None, set()), ("fra", "Comments", {"default", "comment"})],
    "s": [("deu", None, set()), ("swe", "Signs", {"forced"}), ("glg", None, {"hearing_impaired"})],
}
"""Language, title and dispositions of the tracks of sound and subtitles."""


def make_marked(path: Path) -> None:
    (path.parent / "s.srt").write_text(SUBTITLES)
    inputs = [*moving_source(), *sine(1), *sine(1), *(["-i", path.parent / "s.srt"] * 3)]
    marks = []
    for kind, tracks in MARKED.items():
        for number, (language, title, dispositions) in enumerate(tracks):
            marks += [f"-disposition:{kind}:{number}", "+".join(sorted(dispositions)) or "0"]
            marks += [f"-metadata:s:{kind}:{number}", f"language={language}"]
            marks += [f"-metadata:s:{kind}:{number}", f"title={title}"] if title else []
    maps = [value for number in range(6) for value in ("-map", str(number))]
    ffmpeg(*inputs, *maps, *H264, "-c:a", "aac", "-c:s", "srt", *marks, path)


def said(path: Path) -> dict[str, list[tuple[str | None, str | None, set[str]]]]:
    tracks = read_tracks(path)
    return {
        kind: [
            (
                None if track.language is None else {"ger": "deu", "fre": "fra"}.get(track.language, track.language),
                track.title,
                set(track.dispositions) - {"captions"},  # ffmpeg's second name for hearing_impaired in MP4.
            )
            for track in some
        ]
        for kind, some in (("a", tracks.audio), ("s", tracks.subtitles))
    }


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_tracks_are_on_or_off_and_named_as_before(tmp_path: Path, suffix: str) -> None:
    source, path, back = tmp_path / "source.mkv", tmp_path / f"a{suffix}", tmp_path / "back.mkv"
    make_marked(source)
    notes = write(path, scan(source).timing, read_tracks(source))
    if suffix == ".webm":
        assert [note for note in notes if "has no place for what track" in note] == [
            "webm has no place for what track 1 of sound says: comment"
        ]
    else:
        assert said(path) == MARKED
        assert not any("has no place for what" in note for note in notes)
        # All the frames are where the header says, and from there it goes on.
        assert scan(path).frame_count == 25
        write(back, scan(path).timing, read_tracks(path))
        assert said(back) == MARKED


def test_a_language_that_a_container_cannot_name_is_reported(tmp_path: Path, source: Path) -> None:
    tracks = read_tracks(source)
    strange = replace(tracks, audio=tuple(replace(track, language="x-elvish") for track in tracks.audio))
    notes = write(tmp_path / "a.mp4", scan(source).timing, strange)
    assert "mp4 has no place for what track 0 of sound says: language x-elvish" in notes


@pytest.mark.parametrize(("layout", "kept"), [("5.1(side)", "5.1"), ("4.1", "5.1"), ("2.1", "stereo")])
def test_webm_takes_sound_however_the_loudspeakers_stand(tmp_path: Path, layout: str, kept: str) -> None:
    """AC-3 and DTS have them at the sides, which the encoder of Opus refuses."""
    film = tmp_path / "film.mkv"
    loudspeakers = [*sine(0.2)[:-1], f"{sine(0.2)[-1]},aformat=channel_layouts={layout}"]
    ffmpeg(*moving_source(seconds=0.2), *loudspeakers, *H264, "-c:a", "ac3", film)
    for part in (None, (Fraction(0), Fraction(1, 10))):
        path = tmp_path / "out.webm"
        notes = write(path, Timing.constant(Fraction(25), 5 if part is None else 2), read_tracks(film), part)
        assert len(notes) == 1 and "to opus" in notes[0]
        with av.open(path) as container:
            assert container.streams.audio[0].codec_context.layout.name == kept
            seconds = sum(frame.samples for frame in container.decode(audio=0)) / 48000
            assert abs(seconds - (0.2 if part is None else 0.1)) < 0.03


def test_the_metadata_of_an_animation_is_told(tmp_path: Path) -> None:
    pictures = [Image.fromarray(numbered(index)) for index in range(2)]
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    for name in ("a.webp", "a.png"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:], exif=exif)
        for suffix in (".mp4", ".gif"):
            assert read_tracks(tmp_path / name).notes(suffix) == ["the EXIF of the animation is left out"]
