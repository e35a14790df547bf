"""XMP as text: what a telephone writes into it about pictures and films that are attached to a photo."""

import re

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

_MOST_NAMES = 2000


def without_attachments(xmp: bytes) -> bytes:
    """XMP without what it says of attached pictures and films, which a painting does not have.

    Programs that read there of a gain map or of a motion photo's film would look for it in vain.
    """
    for prefix, begin in _attachment_prefixes(xmp):
        if xmp.count(prefix + b":") > _MOST_NAMES:
            continue  # Nobody writes so many, and to look for the end of each would take long.
        name = re.escape(prefix) + b":" + begin + rb"[\w.-]*"
        xmp = re.sub(rb"\s+" + name + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", xmp)
        xmp = re.sub(rb"<(" + name + rb")(?:\s[^>]*)?(?:/>|(?<!/)>.*?</\1\s*>)", b"", xmp, flags=re.DOTALL)
    return xmp


def attachments_of(xmp: bytes) -> list[str]:
    """What XMP says is attached to a photo, in words."""
    found = []
    prefixes = {begin: prefix for prefix, begin in _attachment_prefixes(xmp) if begin}
    if b"hdr-gain-map" in xmp or b"HDRGainMap" in xmp or b"aux:hdrgainmap" in xmp:
        found.append("HDR gain map")
    if re.search(rb":" + _FILM + rb"\s*(?:=\s*[\"']|>)\s*1", xmp) and _FILM in prefixes:
        found.append("film of a motion photo")
    if b"photos/1.0/depthmap/" in xmp or b"photos/dd/1.0/device/" in xmp:
        found.append("depth map")
    if _EXTENDED in prefixes and prefixes[_EXTENDED] + b":" + _EXTENDED in xmp:
        found.append("extended XMP")
    return found


def _attachment_prefixes(xmp: bytes) -> list[tuple[bytes, bytes]]:
    """(Prefix in this text, how names begin) of the vocabularies about attachments."""
    declared = re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']([^\"']*)[\"']", xmp)
    return [(prefix, _ATTACHMENTS[uri]) for prefix, uri in dict(declared).items() if uri in _ATTACHMENTS]
