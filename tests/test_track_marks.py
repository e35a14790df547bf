"""Languages, titles and roles of tracks are those of the source, or their loss is reported."""

from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition

from impasto.media.timing import Timing
from impasto.media.tracks import Track, Tracks, read_tracks
from impasto.media.video_reader import scan
from impasto.media.video_writer import VideoWriter
from tests.support.clips import ffmpeg, moving_source, numbered, sine

CODECS = {
    ".mp4": ["-c:v", "libx264", "-c:a", "aac", "-c:s", "mov_text"],
    ".mov": ["-c:v", "libx264", "-c:a", "aac", "-c:s", "mov_text"],
    ".mkv": ["-c:v", "libx264", "-c:a", "aac", "-c:s", "srt"],
    ".webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-c:a", "libopus", "-c:s", "webvtt"],
}
SAME = {"captions": "hearing_impaired", "descriptions": "visual_impaired"}
Marks = tuple[str | None, str | None, frozenset[str]]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "s.srt"
    path.write_text("1\n00:00:00,050 --> 00:00:00,200\nGuten Tag\n")
    return path


def make(path: Path, text: Path, tracks: list[tuple[str, str, str, str]]) -> None:
    """A film with a track for each (kind, disposition, language, title)."""
    maps, marks, counts = ["-map", "0"], [], {"a": 0, "s": 0}
    for kind, disposition, language, title in tracks:
        maps += ["-map", "1" if kind == "a" else "2"]
        track = f"{kind}:{counts[kind]}"
        counts[kind] += 1
        marks += [f"-disposition:{track}", disposition, f"-metadata:s:{track}", f"language={language}"]
        marks += [f"-metadata:s:{track}", f"title={title}"]
    source = [*moving_source(seconds=0.2), *sine(0.2), "-i", text]
    ffmpeg(*source, *maps, *CODECS[path.suffix], *marks, "-metadata:s:v", "language=ita", path)


def write(path: Path, timing: Timing, tracks: Tracks) -> list[str]:
    with VideoWriter(path, (48, 64), timing, tracks=tracks, preset="ultrafast") as writer:
        for index in range(timing.frame_count):
            writer.write(numbered(index))
    return writer.notes


def painted(source: Path, path: Path) -> list[str]:
    return write(path, scan(source).timing, read_tracks(source))


def marks(path: Path) -> dict[str, list[Marks]]:
    """(Language, title, roles) of the tracks of each kind, as ffmpeg reads them; roles of one meaning count as one."""
    found: dict[str, list[Marks]] = {}
    with av.open(str(path)) as container:
        streams: list[Any] = list(container.streams)
        for stream in streams:
            roles = {str(role.name) for role in Disposition if role & stream.disposition}
            title = stream.metadata.get("title") or stream.metadata.get("name") or None
            language = stream.language if stream.language != "und" else None
            entry = (language, title, frozenset(SAME.get(role, role) for role in roles))
            found.setdefault(stream.type, []).append(entry)
    return found


@pytest.mark.parametrize("output", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("source", [".mp4", ".mov", ".mkv", ".webm"])
def test_tracks_are_marked_as_they_were(tmp_path: Path, text: Path, source: str, output: str) -> None:
    path, film = tmp_path / f"painted{output}", tmp_path / f"film{source}"
    first = [("a", "default", "jpn", "Stereo"), ("a", "0", "eng", "Comments")]
    make(
        film,
        text,
        [*first, ("s", "0", "fra", "All"), ("s", "forced", "deu", "Nur Schilder"), ("s", "0", "gsw", "Über alles")],
    )
    notes = painted(film, path)
    before, after = marks(film), marks(path)
    assert after["audio"] == before["audio"]
    assert after["subtitle"] == before["subtitle"]
    assert [language for language, _, _ in after["video"]] == ["ita"]
    if source in (".mkv", ".webm"):
        # What ffmpeg writes into the others is no truth: there it turns tracks on, and forgets languages.
        assert after["subtitle"] == [
            ("fra", "All", frozenset()),
            ("deu", "Nur Schilder", frozenset({"forced"})),
            ("gsw", "Über alles", frozenset()),
        ]
    assert not [note for note in notes if "no place for what" in note]


@pytest.mark.parametrize("output", [".mp4", ".mov", ".mkv"])
def test_every_role_is_kept_or_its_loss_is_told(tmp_path: Path, text: Path, output: str) -> None:
    path, film = tmp_path / f"painted{output}", tmp_path / "film.mkv"
    roles = ["default", "dub+default", "original", "comment", "hearing_impaired", "visual_impaired+forced"]
    make(film, text, [(kind, role, "spa", "") for kind in "as" for role in roles])
    notes = painted(film, path)
    before, after = marks(film), marks(path)
    for kind in ("audio", "subtitle"):
        name = {"audio": "sound", "subtitle": "subtitles"}[kind]
        for number, (was, became) in enumerate(zip(before[kind], after[kind], strict=True)):
            lost = was[2] - became[2]
            # MP4 and MOV play some sound unasked.
            assert became[0] == was[0] and became[2] - was[2] <= ({"default"} if kind == "audio" else set())
            losses = [note for note in notes if f"what track {number} of {name} says: " in note]
            assert [note.partition("says: ")[2] for note in losses] == sorted(lost)
            assert lost <= {"original"}


def test_who_a_track_is_for_has_two_names(tmp_path: Path, text: Path) -> None:
    """WebM knows subtitles for the deaf as captions, Matroska as those of the hearing impaired."""
    film, webm, back = tmp_path / "film.mkv", tmp_path / "a.webm", tmp_path / "back.mov"
    make(film, text, [("s", "hearing_impaired", "eng", "")])
    assert not [note for note in painted(film, webm) if "no place for what" in note]
    assert not [note for note in painted(webm, back) if "no place for what" in note]
    for path in (webm, back):
        assert marks(path)["subtitle"] == [("eng", None, frozenset({"hearing_impaired"}))]


def test_a_title_does_not_stand_for_a_role(tmp_path: Path, text: Path) -> None:
    film, path = tmp_path / "film.mkv", tmp_path / "a.mov"
    make(film, text, [("s", "hearing_impaired", "eng", "English caption"), ("a", "dub+default", "eng", "dub")])
    painted(film, path)
    assert marks(path)["subtitle"] == marks(film)["subtitle"]
    assert marks(path)["audio"] == marks(film)["audio"]


def test_what_a_container_has_no_place_for_is_known_beforehand() -> None:
    sound = Track(0, "aac", 48000, "pt-BR", None, frozenset({"karaoke", "default"}))
    pictures = Track(0, "h264", dispositions=frozenset({"default", "original"}), kind="v")
    tracks = Tracks(Path("film.mkv"), audio=(sound,), pictures=pictures)
    assert tracks.notes(".mp4") == [
        "mp4 has no place for what the pictures say: original",
        "mp4 has no place for what track 0 of sound says: karaoke, language pt-BR",
    ]
    assert tracks.notes(".mkv") == ["mkv has no place for what track 0 of sound says: karaoke"]


def test_a_stripped_film_keeps_languages_and_nothing_else(tmp_path: Path, text: Path) -> None:
    film, named = tmp_path / "film.mkv", tmp_path / "named.mkv"
    make(film, text, [("a", "default", "fra", "")])
    ffmpeg("-i", film, "-map", "0", "-c", "copy", "-metadata:s:a", "recorded_at=Our house", named)
    for strip in (False, True):
        path = tmp_path / f"painted{strip}.mkv"
        tracks = read_tracks(named).without_metadata() if strip else read_tracks(named)
        write(path, scan(named).timing, tracks)
        assert (b"Our house" in path.read_bytes()) != strip
        assert [language for language, _, _ in marks(path)["audio"]] == ["fra"]
