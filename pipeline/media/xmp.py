"""XMP of an image for its painting: without what holds for the old file only, and short where it has to be."""

import re
from collections.abc import Iterator
from xml.dom import minidom

_FILM, _EXTENDED = rb"(?:MotionPhoto|MicroVideo)", b"HasExtendedXMP"

_ATTACHMENTS = {
    b"http://ns.adobe.com/hdr-gain-map/1.0/": b"",
    b"http://ns.apple.com/HDRGainMap/1.0/": b"",
    b"http://ns.google.com/photos/1.0/container/": b"",
    b"http://ns.google.com/photos/1.0/container/item/": b"",
    b"http://ns.google.com/photos/1.0/depthmap/": b"",
    b"http://ns.google.com/photos/1.0/image/": b"",
    b"http://ns.google.com/photos/1.0/audio/": b"",
    b"http://ns.google.com/photos/dd/1.0/device/": b"",
    b"http://ns.google.com/photos/1.0/camera/": _FILM,
    b"http://ns.adobe.com/xmp/note/": _EXTENDED,
}
"""Vocabularies about what is attached to a photo, and how the names in them begin that are meant; empty for all."""

_OF_THE_FILE = {
    b"http://ns.adobe.com/xap/1.0/": b"Thumbnails",
    b"http://ns.adobe.com/tiff/1.0/": b"Image(?:Width|Length)",
    b"http://ns.adobe.com/exif/1.0/": b"Pixel[XY]Dimension",
}
"""Vocabularies with names that say something of the old file: its size, and small copies of it."""

_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))\s*[2-8]")
_COLOR_SPACE = re.compile(rb"(exif:ColorSpace(?:=[\"']|>))\s*\d+")
_PROFILE = re.compile(rb"(photoshop:ICCProfile(?:=[\"']|>))[^\"'<]*")

_MOST_NAMES = 2000
_MOST_PARSED_BYTES = 1 << 22
"""A tree of XML takes many times the memory of its text."""


def of_painting(xmp: bytes) -> bytes:
    """XMP that holds for the painting, which is upright, in sRGB, and of a size of its own.

    It does not have the pictures and films that are attached to a photo: programs that read there of a gain map or of a
    motion photo's film would look for it in vain.
    """
    xmp = _ORIENTATION.sub(rb"\g<1>1", xmp)
    xmp = _PROFILE.sub(rb"\g<1>sRGB IEC61966-2.1", _COLOR_SPACE.sub(rb"\g<1>1", xmp))
    for prefix, begin in _prefixes(xmp, _ATTACHMENTS | _OF_THE_FILE):
        if xmp.count(prefix + b":") > _MOST_NAMES:
            continue  # Nobody writes so many, and to look for the end of each would take long.
        name = re.escape(prefix) + b":" + begin + rb"[\w.-]*"
        xmp = re.sub(rb"\s+" + name + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", xmp)
        xmp = re.sub(rb"<(" + name + rb")(?:\s[^>]*)?(?:/>|(?<!/)>.*?</\1\s*>)", b"", xmp, flags=re.DOTALL)
    return xmp


def attachments_of(xmp: bytes) -> list[str]:
    """What XMP says is attached to a photo, in words."""
    found = []
    prefixes = {begin: prefix for prefix, begin in _prefixes(xmp, _ATTACHMENTS) if begin}
    if b"hdr-gain-map" in xmp or b"HDRGainMap" in xmp or b"aux:hdrgainmap" in xmp:
        found.append("HDR gain map")
    if re.search(rb":" + _FILM + rb"\s*(?:=\s*[\"']|>)\s*1", xmp) and _FILM in prefixes:
        found.append("film of a motion photo")
    if b"photos/1.0/depthmap/" in xmp or b"photos/dd/1.0/device/" in xmp:
        found.append("depth map")
    if _EXTENDED in prefixes and prefixes[_EXTENDED] + b":" + _EXTENDED in xmp:
        found.append("extended XMP")
    return found


def _prefixes(xmp: bytes, vocabularies: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """(Prefix in this text, how names begin) of vocabularies."""
    declared = re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']([^\"']*)[\"']", xmp)
    return [(prefix, vocabularies[uri]) for prefix, uri in dict(declared).items() if uri in vocabularies]


def shortened_xmp(given: bytes, limit: int) -> tuple[bytes | None, list[str]]:
    """(XMP of at most `limit` bytes, without its longest properties; their names.) None where it cannot be read."""
    try:
        # Entities are of no use in XMP, and can be made to grow.
        if len(given) > _MOST_PARSED_BYTES or re.search(rb"<!(?:DOCTYPE|ENTITY)", given):
            return None, []
        document, names = minidom.parseString(given), []
        size = len(_bytes(document))
        for owner, found, text in sorted(_properties(document), key=lambda one: len(one[2]), reverse=True):
            if size <= limit:
                break
            if isinstance(found, minidom.Attr):
                owner.removeAttributeNode(found)
            else:
                owner.removeChild(found)
            names.append(found.nodeName)
            size -= len(text.encode())
        data = _bytes(document)
        return (data, names) if len(data) <= limit else (None, [])
    except Exception:  # Metadata of any kind of brokenness is no reason to refuse a picture.
        return None, []


def _bytes(document: minidom.Document) -> bytes:
    return "".join(child.toxml() for child in document.childNodes).encode()


def _properties(document: minidom.Document) -> Iterator[tuple[minidom.Element, minidom.Element | minidom.Attr, str]]:
    """(What it is in, property, its text) of all properties of the outer level."""
    for description in document.getElementsByTagName("rdf:Description"):
        if description.parentNode is None or description.parentNode.nodeName != "rdf:RDF":
            continue
        for child in description.childNodes:
            if isinstance(child, minidom.Element):
                yield description, child, child.toxml()
        for attribute in list(description.attributes.values()):
            if not attribute.nodeName.startswith("xmlns"):
                yield description, attribute, attribute.value
