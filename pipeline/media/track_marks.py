"""Which marks of a track (its language, and what it is for: `default`, `forced`, `comment` ...) a container keeps.

What ffmpeg does not write of them into MP4 and MOV, `mov_tracks` does.
"""

import re
from collections.abc import Collection
from typing import Literal

Kind = Literal["v", "a", "s"]
"""Pictures, sound or subtitles, as ffmpeg abbreviates them."""

_IN_MP4 = {"default", "dub", "comment", "forced", "hearing_impaired", "visual_impaired", "captions", "descriptions"}
_IN_MATROSKA = {"default", "dub", "original", "comment", "forced", "hearing_impaired", "visual_impaired"}
_ROLES: dict[str, set[str]] = {
    ".mp4": _IN_MP4,
    ".mov": _IN_MP4,
    ".mkv": _IN_MATROSKA,
    ".webm": {"default", "forced"},
}
_ROLES_OF_SUBTITLES = {".mkv": {"descriptions"}, ".webm": {"captions", "descriptions", "metadata"}}
"""The dispositions that each container keeps, by ffmpeg's names, and what it keeps besides of subtitles."""

_SAME_ROLES = ({"hearing_impaired", "captions"}, {"visual_impaired", "descriptions"})
"""For whom a track is, and what it is therefore: containers have one or both."""


def held_roles(roles: Collection[str], suffix: str, kind: Kind) -> frozenset[str]:
    """What a track of a kind keeps of its roles in a container with this ending, some under another name."""
    there = _ROLES.get(suffix, set()) | (_ROLES_OF_SUBTITLES.get(suffix, set()) if kind == "s" else set())
    held = there.intersection(roles)
    for pair in _SAME_ROLES:
        if pair.intersection(roles) and not pair & held:
            held |= pair & there
    return frozenset(held)


def lost_roles(roles: Collection[str], suffix: str, kind: Kind) -> list[str]:
    """The roles that it does not keep under any name."""
    held = held_roles(roles, suffix, kind)
    same: set[str] = set().union(*(pair for pair in _SAME_ROLES if pair & held))
    return sorted(set(roles) - held - same)


def holds_language(language: str, suffix: str) -> bool:
    """Whether a container with this ending names a language so: MP4 and MOV by three letters (ISO 639-2)."""
    return suffix not in (".mp4", ".mov") or re.fullmatch("[a-z]{3}", language) is not None
