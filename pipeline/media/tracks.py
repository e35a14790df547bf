"""What goes along with the pictures of a video: sound, subtitles, chapters, metadata.

Each is copied where the output's container holds it, converted where it holds another kind, and else left out and
named. All of it keeps its place beside the pictures.
"""

import contextlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from ..errors import InputError
from .containers import open_container, video_stream
from .image_file import ANIMATED_SUFFIXES, open_image
from .mov_tracks import TrackMarks
from .stream_facts import streams_of_other_programs
from .time_code import TimeCode
from .timing import Timing
from .track_marks import Kind, held_roles, holds_language, lost_roles

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

_OF_THE_FILE = {
    *("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "writing_library"),
    *("operational_pattern_ul", "uid", "generation_uid", "company_name", "product_name", "product_version_num"),
    *("product_version", "application_platform", "product_uid", "toolkit_version_num", "material_package_umid"),
}
"""Metadata that speaks of the old file, and not of the film: of MP4 and Matroska, and of MXF."""

_TIME_CODE = "timecode"

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
    """A stream of pictures, sound or subtitles."""

    number: int
    """Its index among the streams of its kind in the file."""

    codec: str
    sample_rate: int = 0
    language: str | None = None
    """Three letters, as the file has it; None where it does not say."""

    title: str | None = None
    dispositions: frozenset[str] = frozenset()
    """What it is for, and whether it is on unasked (`default`), by ffmpeg's names."""

    kind: Kind = "a"

    def held(self, suffix: str) -> "Track":
        """The track with the marks that a container with this ending keeps."""
        is_held = self.language is not None and holds_language(self.language, suffix)
        roles = held_roles(self.dispositions, suffix, self.kind)
        return replace(self, language=self.language if is_held else None, dispositions=roles)

    def marks(self, position: int, suffix: str) -> list[str]:
        """Arguments of ffmpeg that mark the output's track of this kind and position likewise. ffmpeg would switch
        tracks on itself."""
        held, stream = self.held(suffix), f"{self.kind}:{position}"
        arguments = [f"-disposition:{stream}", "+".join(sorted(held.dispositions)) or "0"]
        for key, value in (("language", held.language), ("title", held.title)):
            arguments += [f"-metadata:s:{stream}", f"{key}={value}"] if value else []
        return arguments

    def lost_marks(self, suffix: str) -> str | None:
        """What a container with this ending does not say of the track, as a line; None where it says all."""
        lost = lost_roles(self.dispositions, suffix, self.kind)
        if self.language and not holds_language(self.language, suffix):
            lost.append(f"language {self.language}")
        if not lost:
            return None
        whose = {"v": "the pictures", "a": f"track {self.number} of sound", "s": f"track {self.number} of subtitles"}
        says = "say" if self.kind == "v" else "says"
        return f"{suffix[1:]} has no place for what {whose[self.kind]} {says}: {', '.join(lost)}"


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
    pictures: Track | None = None
    """The stream of pictures that is painted, of which only the marks are taken."""

    time_code: TimeCode | None = None

    keeps_stream_metadata: bool = True
    """Whether what else sound and subtitles say of themselves goes with them."""

    def without_metadata(self) -> "Tracks":
        """The same without metadata about place, time and author, and without a time code; chapters and the marks of
        tracks stay."""
        return replace(self, attachment_count=0, metadata=(), time_code=None, keeps_stream_metadata=False)

    def without_streams(self) -> "Tracks":
        """Chapters and metadata alone."""
        return replace(self, audio=(), subtitles=(), attachment_count=0)

    @property
    def has_streams(self) -> bool:
        """Whether the output needs the file itself as an input of ffmpeg."""
        return bool(self.audio or self.subtitles or self.attachment_count)

    def ffmetadata(self, origin: Fraction, part: tuple[Fraction, Fraction] | None, timing: Timing) -> str:
        """Metadata and chapters in ffmpeg's `ffmetadata` format, with times relative to `origin`. Of a part (start, end
        in seconds), only what lies in it. The time code is that of the first frame of `timing`.
        """
        code = None if self.time_code is None else self.time_code.of_first(timing)
        metadata = self.metadata if code is None else (*self.metadata, (_TIME_CODE, code))
        lines = [";FFMETADATA1", *(f"{_escaped(key)}={_escaped(value)}" for key, value in metadata)]
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
            return [], self._pictures_alone("a GIF")
        arguments, notes = self._audio_arguments(suffix, part)
        more, others = self._subtitle_arguments(suffix, part)
        arguments, notes = [*self._picture_marks(suffix), *arguments, *more], notes + others
        if self.attachment_count and suffix == ".mkv":
            arguments += ["-map", "1:t", "-c:t", "copy"]
        elif self.attachment_count:
            notes.append(f"attached files ({self.attachment_count}) are left out: {suffix[1:]} holds none")
        marked = (*(() if self.pictures is None else (self.pictures,)), *self.written(suffix))
        notes += [line for track in marked if (line := track.lost_marks(suffix)) is not None]
        notes += [f"{what} is left out" for what in self.unknown]
        return arguments, notes

    def notes(self, suffix: str) -> list[str]:
        """A line for each thing that a container with this ending cannot hold as it is; without one, a folder."""
        if suffix:
            return self.arguments(suffix, None)[1]
        return self._pictures_alone("a folder of PNG", *(["metadata"] if self.metadata else []))

    def _pictures_alone(self, holder: str, *others: str) -> list[str]:
        there = {"sound": self.audio, "subtitles": self.subtitles, "chapters": self.chapters}
        lost = [*(name for name in there if there[name]), *others]
        notes = [f"the {' and the '.join(lost)} {_is(lost)} left out: {holder} holds none"] if lost else []
        return [*notes, *(f"{what} is left out" for what in self.unknown)]

    def _picture_marks(self, suffix: str) -> list[str]:
        # The only pictures are on, whatever was said of them among others.
        pictures = self.pictures or Track(0, "", kind="v")
        marked = replace(pictures, dispositions=pictures.dispositions | {"default"})
        return [*([] if self.keeps_stream_metadata else ["-map_metadata:s", "-1"]), *marked.marks(0, suffix)]

    def _audio_arguments(self, suffix: str, part: tuple[str, str] | None) -> tuple[list[str], list[str]]:
        arguments, notes = [], []
        for audio in self.audio:
            arguments += ["-map", f"1:a:{audio.number}"]
        for position, audio in enumerate(self.audio):
            if audio.codec in _AUDIO_KEPT[suffix]:
                arguments += [f"-c:a:{position}", "copy", *_only_within(f"a:{position}", part)]
                arguments += audio.marks(position, suffix)
                continue
            codec, options = _AUDIO_ENCODED[suffix]
            arguments += [f"-c:a:{position}", codec, *options, *audio.marks(position, suffix)]
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
                *track.marks(position, suffix),
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
        marks = []
        for track in (self.pictures or Track(0, "", kind="v"), *self.written(suffix)):
            held = track.held(suffix)
            # Players play the first sound, on or not.
            is_enabled = "default" in held.dispositions if held.kind == "s" else None
            marks.append(TrackMarks(is_enabled, held.language if suffix == ".mov" else None, held.dispositions))
        return marks

    def lost_metadata(self, written: Mapping[str, str]) -> list[str]:
        """The names of metadata that the written file lacks."""
        there = {key.casefold().partition("-")[0] for key in written}
        return [key for key, _ in self.metadata if key.casefold() not in there]


def read_tracks(path: Path, stream: int | None = None) -> Tracks:
    """What the file holds besides the pictures of a stream, by default the one that players show; of an animated image
    only what is left out. Raises `InputError`."""
    if path.suffix.lower() in ANIMATED_SUFFIXES:
        return Tracks(unknown=_metadata_of_animation(path))
    with open_container(path) as container:
        pictures: Track | None = None
        time_code: TimeCode | None = None
        elsewhere: frozenset[int] = frozenset()
        with contextlib.suppress(InputError):  # A file of sound alone is a source of sound too.
            shown = video_stream(container, path, stream)
            pictures = _track(0, shown, "v")
            time_code = _time_code(container, shown)
            if container.format.name == "mpegts" and len(container.streams) > 2:
                elsewhere = streams_of_other_programs(path, shown.index)
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
            audio=_known(container.streams.audio, "a", elsewhere),
            subtitles=_known(container.streams.subtitles, "s", elsewhere),
            attachment_count=len(container.streams.attachments),
            chapters=chapters,
            metadata=_metadata(container.metadata),
            unknown=tuple(_unknown(container, elsewhere, has_chapters=bool(chapters))),
            pictures=pictures,
            time_code=time_code,
        )


def _known(streams: Sequence[Any], kind: Kind, elsewhere: Collection[int]) -> tuple[Track, ...]:
    """The streams of known kinds that are not of another program."""
    return tuple(
        _track(number, stream, kind)
        for number, stream in enumerate(streams)
        if stream.codec_context is not None and stream.index not in elsewhere
    )


def _track(number: int, stream: Any, kind: Kind) -> Track:
    return Track(
        number,
        stream.codec_context.codec.canonical_name,
        getattr(stream.codec_context, "sample_rate", 0) or 0,
        _language(stream.metadata),
        stream.metadata.get("title") or stream.metadata.get("name"),
        frozenset(flag.name for flag in Disposition if flag.name and flag in Disposition(stream.disposition)),
        kind,
    )


def _time_code(container: InputContainer, pictures: VideoStream) -> TimeCode | None:
    """The time code of the pictures: their own, that of the file, or that of a track that holds nothing else."""
    for metadata in (pictures.metadata, container.metadata, *(stream.metadata for stream in container.streams.data)):
        for key, text in metadata.items():
            if key.casefold() == _TIME_CODE:
                return TimeCode(text, (pictures.start_time or 0) * Fraction(pictures.time_base or 1))
    return None


def _language(metadata: Mapping[str, str]) -> str | None:
    language = metadata.get("language", "")
    return language if language not in ("", "und") else None


def _unknown(container: InputContainer, elsewhere: Collection[int], has_chapters: bool) -> list[str]:
    found = []
    streams: list[Any] = list(container.streams)
    for stream in streams:
        if stream.index in elsewhere:
            found.append("what belongs to other programs of the transport stream")
        elif stream.type in ("audio", "subtitle"):
            if stream.codec_context is None:
                found.append(f"a stream of {'sound' if stream.type == 'audio' else 'subtitles'} of an unknown kind")
        elif stream.type == "video":
            if stream.disposition & Disposition.attached_pic:
                found.append("the cover picture")
        elif stream.type == "data" and _TIME_CODE not in stream.metadata:
            name = stream.metadata.get("handler_name", "").strip()
            # MP4 keeps the names of chapters in a stream of their own.
            if not (has_chapters and name in ("", "SubtitleHandler", "Apple Text Media Handler", "Core Media Text")):
                found.append(f"a stream of data ({name})" if name.isprintable() and name else "a stream of data")
    return list(dict.fromkeys(found))


def _metadata_of_animation(path: Path) -> tuple[str, ...]:
    with open_image(path) as image:
        named = (("EXIF", ("exif",)), ("XMP", ("xmp", "XML:com.adobe.xmp")))
        return tuple(f"the {name} of the animation" for name, keys in named if any(image.info.get(key) for key in keys))


def _metadata(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for key, value in given.items():
        name = _PLAIN_NAMES.get(key.casefold(), key)
        # `location-eng` beside `location`, which says the same.
        if name.casefold() in {*_OF_THE_FILE, _TIME_CODE} or re.fullmatch(r"location-[a-z]{3}", name) or "\0" in value:
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
