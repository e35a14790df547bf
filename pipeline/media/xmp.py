"""XMP of an image for its painting: without what holds for the old file only, and short where it has to be.

XMP is parsed, and what is kept of it keeps its bytes.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from xml.parsers import expat

_FILM, _EXTENDED = "(?:MotionPhoto|MicroVideo)", "HasExtendedXMP"

_ATTACHMENTS = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": "",
    "http://ns.apple.com/HDRGainMap/1.0/": "",
    "http://ns.google.com/photos/1.0/container/": "",
    "http://ns.google.com/photos/1.0/container/item/": "",
    "http://ns.google.com/photos/1.0/depthmap/": "",
    "http://ns.google.com/photos/1.0/image/": "",
    "http://ns.google.com/photos/1.0/audio/": "",
    "http://ns.google.com/photos/dd/1.0/device/": "",
    "http://ns.google.com/photos/1.0/camera/": _FILM,
    "http://ns.adobe.com/xmp/note/": _EXTENDED,
}
"""Vocabularies about what is attached to a photo, and how the names in them begin that are meant; empty for all."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP, _TIFF, _EXIF = (f"http://ns.adobe.com/{name}/1.0/" for name in ("xap", "tiff", "exif"))
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_USUAL_PREFIXES = {"rdf": _RDF, "xmp": _XMP, "tiff": _TIFF, "exif": _EXIF, "photoshop": _PHOTOSHOP}
"""They count where a text declares no other."""

_GONE = _ATTACHMENTS | {_XMP: "Thumbnails", _TIFF: "Image(?:Width|Length)", _EXIF: "Pixel[XY]Dimension"}
"""With those that say something of the old file: its size, and small copies of it."""

_OF_PAINTING = {
    f"{_TIFF} Orientation": b"1",
    f"{_EXIF} ColorSpace": b"1",
    f"{_PHOTOSHOP} ICCProfile": b"sRGB IEC61966-2.1",
}
"""What a property says of the painting."""

_DECLARATION = "xmlns"
_START_TAG = re.compile(rb"<([^\s/>]+)((?:[^\"'>]+|\"[^\"]*\"|'[^']*')*+)>")
_ATTRIBUTE = re.compile(rb"([^\s=]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")

_MOST_BYTES = 1 << 24
_MOST_NAMES = 200_000
"""Of elements and attributes; a painting is not to wait for more."""

_Edit: TypeAlias = tuple[int, int, bytes]
"""From where to where, and what is there instead."""

_IsWanted: TypeAlias = Callable[[Sequence[str], str], bool]
"""Takes the names of the elements around a property, the outermost first, and its own."""


def of_painting(xmp: bytes) -> bytes:
    """XMP that holds for the painting, which is upright, in sRGB, and of a size of its own.

    It does not have the pictures and films that are attached to a photo: programs that read there of a gain map or of a
    motion photo's film would look for it in vain. Raises `ValueError` for what is no XML, and for very much of it.
    """
    edits: list[_Edit] = []
    for part in _parts(xmp, lambda _, name: name in _OF_PAINTING or _goes(name)):
        if part.name not in _OF_PAINTING:
            edits.append((part.start, part.end, b""))
        elif part.value is not None:
            edits.append((*part.value, _OF_PAINTING[part.name]))
    return _edited(xmp, edits)


def _goes(name: str) -> bool:
    vocabulary, _, local = name.rpartition(" ")
    if vocabulary == _DECLARATION:
        return _GONE.get(local) == ""
    return vocabulary in _GONE and re.match(_GONE[vocabulary], local) is not None


def attachments_of(xmp: bytes) -> list[str]:
    """What XMP says is attached to a photo, in words."""
    found = []
    if b"hdr-gain-map" in xmp or b"HDRGainMap" in xmp or b"aux:hdrgainmap" in xmp:
        found.append("HDR gain map")
    if b"photos/1.0/camera/" in xmp and re.search(rb":%b\s*(?:=\s*[\"']|>)\s*1" % _FILM.encode(), xmp):
        found.append("film of a motion photo")
    if b"photos/1.0/depthmap/" in xmp or b"photos/dd/1.0/device/" in xmp:
        found.append("depth map")
    if b"xmp/note/" in xmp and b":" + _EXTENDED.encode() in xmp:
        found.append("extended XMP")
    return found


def shortened_xmp(given: bytes, limit: int) -> tuple[bytes | None, list[str]]:
    """(XMP of at most `limit` bytes, without its longest properties; their names.) None where it cannot be read."""
    body, end, rest = given.rpartition(b"<?xpacket end")
    xmp = body.rstrip() + end + rest  # Without its padding.
    try:
        parts = _parts(xmp, _is_outer_property)
    except ValueError:
        return None, []
    size, gone = len(xmp), list[_Part]()
    for part in sorted(parts, key=lambda part: part.start - part.end):
        if size <= limit:
            break
        size -= part.end - part.start
        gone.append(part)
    edits = sorted((part.start, part.end, b"") for part in gone)
    return (_edited(xmp, edits), [part.label for part in gone]) if size <= limit else (None, [])


def _is_outer_property(outer: Sequence[str], name: str) -> bool:
    is_description = outer[-2:] == [f"{_RDF} RDF", f"{_RDF} Description"]
    return is_description and not name.startswith(f"{_DECLARATION} ")


def _edited(xmp: bytes, edits: Iterable[_Edit]) -> bytes:
    kept, position = [], 0
    for start, end, instead in edits:
        kept += [xmp[position:start], instead]
        position = end
    return b"".join((*kept, xmp[position:]))


@dataclass(frozen=True, slots=True)
class _Part:
    """An element or attribute as it lies in XMP: from where to where."""

    name: str
    """Its vocabulary and its name in that; of a declaration `xmlns` and the vocabulary."""

    label: str
    """Its name in the text, with the prefix."""

    start: int
    end: int

    value: tuple[int, int] | None
    """From where to where its value goes, or what is in it; None for an element that holds nothing."""


def _parts(xmp: bytes, is_wanted: _IsWanted) -> list[_Part]:
    """The wanted elements and attributes of XMP, without those inside them, in their order."""
    if len(xmp) > _MOST_BYTES:
        raise ValueError(f"{len(xmp)} bytes of XMP")
    finder = _Finder(xmp, is_wanted)
    try:
        finder.parser.Parse(xmp, True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from error
    return finder.found


class _Finder:
    """Notes where the wanted elements and attributes are while XMP is parsed."""

    def __init__(self, xmp: bytes, is_wanted: _IsWanted) -> None:
        self.found: list[_Part] = []
        self.parser = expat.ParserCreate("utf-8")
        self.parser.ordered_attributes = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._refuse
        self._xmp = xmp
        self._is_wanted = is_wanted
        self._names_left = _MOST_NAMES
        self._outer: list[str] = []
        self._declared: list[list[str]] = []
        self._vocabularies = {prefix: [uri] for prefix, uri in _USUAL_PREFIXES.items()}
        self._open: tuple[int, int] | None = None  # Of the wanted element: how deep it lies, and where it begins.

    def _refuse(self, *_: object) -> None:
        # Entities are of no use in XMP, and can be made to grow.
        raise ValueError("XMP with a document type")

    def _start(self, tag: str, attributes: list[str]) -> None:
        self._names_left -= 1 + len(attributes) // 2
        if self._names_left < 0:
            raise ValueError(f"more than {_MOST_NAMES} names in XMP")
        pairs = list(zip(attributes[::2], attributes[1::2], strict=True))
        declared = {key.partition(":")[2]: uri for key, uri in pairs if key.partition(":")[0] == _DECLARATION}
        for prefix, uri in declared.items():
            self._vocabularies.setdefault(prefix, []).append(uri)
        self._declared.append(list(declared))
        name, place = self._full(tag), self.parser.CurrentByteIndex
        if self._open is None and self._is_wanted(self._outer, name):
            self._open = len(self._outer), place
        self._outer.append(name)
        if self._open is None:
            names = [self._full_of_attribute(*pair) for pair in pairs]
            wanted = {index: name for index, name in enumerate(names) if self._is_wanted(self._outer, name)}
            if wanted:
                self._note_attributes(place, wanted)

    def _end(self, tag: str) -> None:
        name = self._outer.pop()
        for prefix in self._declared.pop():
            self._vocabularies[prefix].pop()
        if self._open is None or self._open[0] != len(self._outer):
            return
        (_, start), self._open = self._open, None
        head = self._tag_at(start)
        if head[2].endswith(b"/"):
            self.found.append(_Part(name, tag, start, head.end(), None))
        else:
            close = self.parser.CurrentByteIndex
            end = self._xmp.index(b">", close) + 1
            self.found.append(_Part(name, tag, start, end, (head.end(), close)))

    def _note_attributes(self, place: int, wanted: dict[int, str]) -> None:
        """The attributes of the element at a place, by their position among them. The space before each goes too."""
        head = self._tag_at(place)
        end = head.start(2)
        for index, found in enumerate(_ATTRIBUTE.finditer(self._xmp, head.start(2), head.end(2))):
            start, end = end, found.end()
            if index in wanted:
                value = found.span(2 if found[2] is not None else 3)
                self.found.append(_Part(wanted[index], found[1].decode(), start, end, value))

    def _tag_at(self, place: int) -> re.Match[bytes]:
        found = _START_TAG.match(self._xmp, place)
        if found is None:
            raise ValueError(f"no tag at {place}")
        return found

    def _full(self, tag: str) -> str:
        prefix, _, local = tag.rpartition(":")
        return f"{(self._vocabularies.get(prefix) or ('',))[-1]} {local}"

    def _full_of_attribute(self, key: str, value: str) -> str:
        if key.partition(":")[0] == _DECLARATION:
            return f"{_DECLARATION} {value}"
        return self._full(key) if ":" in key else f" {key}"
