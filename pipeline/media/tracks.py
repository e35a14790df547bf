"""What goes along with the pictures of a video: sound, subtitles, chapters, metadata.

Each is copied where the output's container holds it, converted where it holds another kind, and else left out and
named. All of it keeps its place beside the pictures.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition

from .containers import open_container
from .image_file import ANIMATED_SUFFIXES
from .mov_tracks import TrackMarks

_PCM = {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8"}
_AUDIO_KEPT = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", *_PCM},
    ".mkv": {"aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "alac", "flac", "opus", "vorbis", *_PCM},
    ".webm": {"opus", "vorbis"},
}
"""The audio codecs that each container takes and players expect there; others are re-encoded."""

_AUDIO_ENCODED = {
    ".mp4": ("aac", ["-b:a", "256k"]),
    ".mov": ("aac", ["-b:a", "256k"]),
    ".mkv": ("aac", ["-b:a", "256k"]),
    ".webm": ("libopus", ["-b:a", "160k"]),
}

_OPUS_LAYOUTS = "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1"
"""The arrangements of loudspeakers that Opus knows. Its encoder refuses others, as the 5.1(side) of AC-3 and DTS,
without saying beforehand which it takes."""

_TEXT = {"subrip", "ass", "webvtt", "mov_text", "text"}
_SUBTITLES_KEPT = {
    ".mp4": {"mov_text"},
    ".mov": {"mov_text"},
    ".mkv": {"subrip", "ass", "webvtt", "dvd_subtitle", "hdmv_pgs_subtitle", "dvb_subtitle"},
    ".webm": {"webvtt"},
}
_SUBTITLES_ENCODED = {".mp4": "mov_text", ".mov": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
"""Text subtitles are converted to these; subtitles that are pictures are copied or left out."""

_BIBLIOGRAPHIC = {
    "sqi": "alb",
    "hye": "arm",
    "eus": "baq",
    "mya": "bur",
    "zho": "chi",
    "ces": "cze",
    "nld": "dut",
    "fra": "fre",
    "kat": "geo",
    "deu": "ger",
    "ell": "gre",
    "isl": "ice",
    "mkd": "mac",
    "mri": "mao",
    "msa": "may",
    "fas": "per",
    "ron": "rum",
    "slk": "slo",
    "bod": "tib",
    "cym": "wel",
}
"""The languages that have two codes (ISO 639-2, T and B)."""

_OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "writing_library"}
"""Metadata that speaks of the old file, and not of the film."""

_PLAIN_NAMES = {
    "com.apple.quicktime.location.iso6709": "location",
    "com.apple.quicktime.make": "make",
    "com.apple.quicktime.model": "model",
    "com.apple.quicktime.software": "software",
    "com.apple.quicktime.title": "title",
    "com.apple.quicktime.artist": "artist",
    "com.apple.quicktime.description": "description",
    "com.apple.quicktime.copyright": "copyright",
    "com.apple.quicktime.comment": "comment",
}
"""What telephones call what every container has a place for."""


@dataclass(frozen=True)
class Track:
    """A stream of sound or subtitles."""

    number: int
    """Its index among the streams of its kind in the file."""

    codec: str
    sample_rate: int = 0
    language: str | None = None
    """Three letters, as the file has it; None where it does not say."""

    title: str | None = None
    dispositions: frozenset[str] = frozenset()
    """What it is for, and whether it is on unasked (`default`), by ffmpeg's names."""

    def marks(self, stream: str) -> list[str]:
        """Arguments of ffmpeg that say the same of an output stream, as `s:0`. ffmpeg would switch tracks on itself."""
        arguments = [f"-disposition:{stream}", "+".join(sorted(self.dispositions)) or "0"]
        for key, value in (("language", self.language), ("title", self.title)):
            arguments += [f"-metadata:s:{stream}", f"{key}={value}"] if value else []
        return arguments

    def lost_marks(self, written: "Track") -> list[str]:
        """What the track as written does not say of itself."""
        lost = sorted(self.dispositions - written.dispositions)
        if self.language and same_language(self.language) != same_language(written.language or ""):
            lost.append(f"language {self.language}")
        if self.title and self.title != written.title:
            lost.append(f"title {self.title}")
        return lost


@dataclass(frozen=True)
class Chapter:
    """A named part of a video, in seconds on the file's clock."""

    start: Fraction
    end: Fraction
    title: str


@dataclass(frozen=True)
class Tracks:
    """What a video file holds besides its pictures. `unknown` names the kinds of streams that are never copied."""

    source: Path | None = None
    start_seconds: Fraction = Fraction(0)
    """Where the earliest of picture and sound begins on the file's clock."""

    audio: tuple[Track, ...] = ()
    subtitles: tuple[Track, ...] = ()
    attachment_count: int = 0
    chapters: tuple[Chapter, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()

    def without_metadata(self) -> "Tracks":
        """The same without metadata about place, time and author; chapters stay."""
        return Tracks(self.source, self.start_seconds, self.audio, self.subtitles, 0, self.chapters, (), self.unknown)

    def without_streams(self) -> "Tracks":
        """Chapters and metadata alone."""
        return replace(self, audio=(), subtitles=(), attachment_count=0)

    @property
    def has_streams(self) -> bool:
        """Whether the output needs the file itself as an input of ffmpeg."""
        return bool(self.audio or self.subtitles or self.attachment_count)

    def ffmetadata(self, origin: Fraction, part: tuple[Fraction, Fraction] | None) -> str:
        """Metadata and chapters in ffmpeg's `ffmetadata` format, with times relative to `origin`. Of a part (start, end
        in seconds), only what lies in it.
        """
        lines = [";FFMETADATA1", *(f"{_escaped(key)}={_escaped(value)}" for key, value in self.metadata)]
        for chapter in self.chapters:
            start, end = chapter.start, chapter.end
            if part is not None:
                start, end = max(start, part[0]), min(end, part[1])
            if start >= end:
                continue
            bounds = [max(0, round((bound - origin) * 1000)) for bound in (start, end)]
            lines += ["[CHAPTER]", "TIMEBASE=1/1000", f"START={bounds[0]}", f"END={bounds[1]}"]
            lines += [f"title={_escaped(chapter.title)}"] if chapter.title else []
        return "\n".join(lines) + "\n"

    def arguments(self, suffix: str, part: tuple[str, str] | None) -> tuple[list[str], list[str]]:
        """(Arguments of ffmpeg, with the file as its second input; a line for each thing that is lost.)

        `part`: begin and end in seconds on the output's clock, where not all is copied. Copied packets outside it are
        dropped whole, and the others keep their times; re-encoded sound is cut exactly.
        """
        if suffix == ".gif":
            lost = [name for name, there in (("sound", self.audio), ("subtitles", self.subtitles)) if there]
            lost += ["chapters"] if self.chapters else []
            return [], [f"the {' and the '.join(lost)} {_is(lost)} left out: a GIF holds none"] if lost else []
        arguments, notes = self._audio_arguments(suffix, part)
        more, others = self._subtitle_arguments(suffix, part)
        arguments, notes = arguments + more, notes + others
        if self.attachment_count and suffix == ".mkv":
            arguments += ["-map", "1:t", "-c:t", "copy"]
        elif self.attachment_count:
            notes.append(f"attached files ({self.attachment_count}) are left out: {suffix[1:]} holds none")
        notes += [f"{what} is left out" for what in self.unknown]
        return arguments, notes

    def notes(self, suffix: str) -> list[str]:
        """A line for each thing that a container with this ending cannot hold as it is."""
        return self.arguments(suffix, None)[1]

    def _audio_arguments(self, suffix: str, part: tuple[str, str] | None) -> tuple[list[str], list[str]]:
        arguments, notes = [], []
        for audio in self.audio:
            arguments += ["-map", f"1:a:{audio.number}"]
        for position, audio in enumerate(self.audio):
            if audio.codec in _AUDIO_KEPT[suffix]:
                arguments += [f"-c:a:{position}", "copy", *_only_within(f"a:{position}", part)]
                arguments += audio.marks(f"a:{position}")
                continue
            codec, options = _AUDIO_ENCODED[suffix]
            arguments += [f"-c:a:{position}", codec, *options, *audio.marks(f"a:{position}")]
            filters = [] if part is None else [f"atrim=start={part[0]}:end={part[1]}"]
            if codec == "libopus":
                filters.append(f"aformat=channel_layouts={_OPUS_LAYOUTS}")
            if filters:
                arguments += [f"-filter:a:{position}", ",".join(filters)]
            notes.append(
                f"the sound is encoded anew, from {audio.codec} to {codec.removeprefix('lib')}: "
                f"{suffix[1:]} does not hold it as it was"
            )
        return arguments, notes

    def _subtitle_arguments(self, suffix: str, part: tuple[str, str] | None) -> tuple[list[str], list[str]]:
        arguments: list[str] = []
        notes: list[str] = []
        position = 0
        for track in self.subtitles:
            if track.codec in _SUBTITLES_KEPT[suffix]:
                codec = "copy"
            elif track.codec in _TEXT:
                codec = _SUBTITLES_ENCODED[suffix]
                notes.append(f"subtitles are made {codec} from {track.codec}, without its fonts and places")
            else:
                notes.append(f"subtitles of the kind {track.codec} are left out: {suffix[1:]} does not hold them")
                continue
            arguments += [
                "-map",
                f"1:s:{track.number}",
                f"-c:s:{position}",
                codec,
                *_only_within(f"s:{position}", part),
                *track.marks(f"s:{position}"),
            ]
            position += 1
        return arguments, notes

    def written(self, suffix: str) -> tuple[Track, ...]:
        """The tracks that a container with this ending gets, in its order."""
        if suffix == ".gif":
            return ()
        held = _SUBTITLES_KEPT[suffix] | _TEXT
        return (*self.audio, *(track for track in self.subtitles if track.codec in held))

    def mov_marks(self, suffix: str) -> list[TrackMarks]:
        """What an MP4 or MOV file has to say of its tracks, the pictures first."""
        marks = [TrackMarks()]
        for number, track in enumerate(self.written(suffix)):
            # Players play the first sound, on or not.
            is_enabled = None if number < len(self.audio) else "default" in track.dispositions
            is_plain = re.fullmatch("[a-z]{3}", track.language or "") is not None and suffix == ".mov"
            language = track.language if is_plain else None
            marks.append(TrackMarks(is_enabled, language, track.dispositions))
        return marks

    def lost_marks(self, container: InputContainer, suffix: str) -> Iterator[str]:
        """A line for each track that says less of itself in the written file."""
        there = [*_known(container.streams.audio), *_known(container.streams.subtitles)]
        for number, (track, written) in enumerate(zip(self.written(suffix), there, strict=False)):
            if lost := track.lost_marks(written):
                kind = "sound" if number < len(self.audio) else "subtitles"
                yield f"{suffix[1:]} has no place for what track {track.number} of {kind} says: {', '.join(lost)}"

    def lost_metadata(self, written: Mapping[str, str]) -> list[str]:
        """The names of metadata that the written file lacks."""
        there = {key.casefold().partition("-")[0] for key in written}
        return [key for key, _ in self.metadata if key.casefold() not in there]


def read_tracks(path: Path) -> Tracks:
    """What the file holds besides its pictures; nothing for an animated image. Raises `InputError`."""
    if path.suffix.lower() in ANIMATED_SUFFIXES:
        return Tracks()
    with open_container(path) as container:
        chapters = tuple(
            Chapter(
                Fraction(item["start"]) * item["time_base"],
                Fraction(item["end"]) * item["time_base"],
                str(item["metadata"].get("title", "")),
            )
            for item in container.chapters()
            if item["time_base"] and item["end"] > item["start"]
        )
        return Tracks(
            source=path,
            start_seconds=Fraction(container.start_time or 0, av.time_base),
            audio=_known(container.streams.audio),
            subtitles=_known(container.streams.subtitles),
            attachment_count=len(container.streams.attachments),
            chapters=chapters,
            metadata=_metadata(container.metadata),
            unknown=tuple(_unknown(container, has_chapters=bool(chapters))),
        )


def _known(streams: Sequence[Any]) -> tuple[Track, ...]:
    """The streams of known kinds."""
    return tuple(
        Track(
            number,
            stream.codec_context.codec.canonical_name,
            getattr(stream.codec_context, "sample_rate", 0) or 0,
            _language(stream.metadata),
            stream.metadata.get("title") or stream.metadata.get("name"),
            frozenset(flag.name for flag in Disposition if flag.name and flag in Disposition(stream.disposition)),
        )
        for number, stream in enumerate(streams)
        if stream.codec_context is not None
    )


def _language(metadata: Mapping[str, str]) -> str | None:
    language = metadata.get("language", "")
    return language if language not in ("", "und") else None


def same_language(code: str) -> str:
    """The code of a language; of the twenty that have two (ISO 639-2 B and T) always the one."""
    return _BIBLIOGRAPHIC.get(code, code)


def _unknown(container: InputContainer, has_chapters: bool) -> list[str]:
    found = []
    streams: list[Any] = list(container.streams)
    for stream in streams:
        if stream.type in ("audio", "subtitle"):
            if stream.codec_context is None:
                found.append(f"a stream of {'sound' if stream.type == 'audio' else 'subtitles'} of an unknown kind")
        elif stream.type == "video":
            if stream.disposition & Disposition.attached_pic:
                found.append("the cover picture")
        elif stream.type == "data":
            name = stream.metadata.get("handler_name", "").strip()
            # MP4 keeps the names of chapters in a stream of their own.
            if not (has_chapters and name in ("", "SubtitleHandler", "Apple Text Media Handler", "Core Media Text")):
                found.append(f"a stream of data ({name})" if name.isprintable() and name else "a stream of data")
    return list(dict.fromkeys(found))


def _metadata(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for key, value in given.items():
        name = _PLAIN_NAMES.get(key.casefold(), key)
        # `location-eng` beside `location`, which says the same.
        if name.casefold() in _OF_THE_FILE or re.fullmatch(r"location-[a-z]{3}", name) or "\0" in value:
            continue
        found.setdefault(name.casefold() if name.isupper() else name, value)
    return tuple(found.items())


def _only_within(stream: str, part: tuple[str, str] | None) -> list[str]:
    """Arguments that drop the packets of an output stream outside the part."""
    return [] if part is None else [f"-bsf:{stream}", f"noise=drop=lt(pts*tb\\,{part[0]})+gte(pts*tb\\,{part[1]})"]


def _escaped(text: str) -> str:
    return re.sub(r"([=;#\\\n])", r"\\\1", text)


def _is(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 or names[0].endswith("s") else "is"
