"""What is said about a photo: each thing is kept where the painting's file has a place for it, or reported."""

import struct
import zlib
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, IptcImagePlugin, PngImagePlugin

from impasto.media import image_metadata, images
from impasto.media.exif_tags import EXIF_IFD, GPS_IFD, PREFIX, Tag, TagTree
from impasto.media.image_exif import tags_of_exif
from impasto.media.image_metadata import read_extras
from impasto.media.images import image_facts, read_image, write_image
from impasto.media.xmp import of_painting
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.dry_run import dry_run
from impasto.run.job_run import stylize
from tests.conftest import TINY
from tests.support.unpainted import unpainted

SUFFIXES = [".jpg", ".tif", ".png", ".webp", ".bmp"]
IPTC = b"\x1c\x02\x78\0\x05Hello\x1c\x02\x50\0\x04Jos\xc3"
"""A caption and the name of an author, as IIM has them."""

XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:ICCProfile="Adobe RGB (1998)"
 tiff:ImageWidth="4000" crs:Tone="{attribute}">
<dc:creator><rdf:Seq><rdf:li>José</rdf:li></rdf:Seq></dc:creator><crs:Masks>{element}</crs:Masks>
<xmp:Thumbnails><rdf:Alt><rdf:li>old picture</rdf:li></rdf:Alt></xmp:Thumbnails>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def picture() -> Image.Image:
    return Image.fromarray(np.full((48, 64, 3), 90, np.uint8))


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)


def resource(kind: int, body: bytes) -> bytes:
    return b"8BIM" + kind.to_bytes(2) + b"\0\0" + len(body).to_bytes(4) + body + bytes(len(body) % 2)


def copied(source: Path, target: Path) -> tuple[str, ...]:
    """What is reported of a painting that looks as its content."""
    write_image(target, read_image(source), read_extras(source))
    return image_facts(source, target.suffix).metadata_not_kept


def save_with_iptc(path: Path) -> None:
    if path.suffix == ".tif":
        picture().save(path, tiffinfo={33723: IPTC})
    elif path.suffix == ".png":  # As ImageMagick has it.
        data, info = resource(0x0404, IPTC), PngImagePlugin.PngInfo()
        info.add_text("Raw profile type iptc", f"\niptc\n{len(data):8}\n{data.hex()}\n", zip=True)
        picture().save(path, pnginfo=info)
    else:
        picture().save(path, extra=segment(0xED, b"Photoshop 3.0\0" + resource(0x0404, IPTC)))


@pytest.mark.parametrize("given", [".jpg", ".tif", ".png"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_iptc_is_kept_or_reported(tmp_path: Path, given: str, suffix: str) -> None:
    source, target = tmp_path / f"a{given}", tmp_path / f"b{suffix}"
    save_with_iptc(source)
    lost = copied(source, target)
    if suffix not in (".jpg", ".tif"):
        assert lost == (f"the IPTC data are left out: {suffix} files hold none",)
        return
    with Image.open(target) as image:
        found = IptcImagePlugin.getiptcinfo(image)
    assert found is not None and (found[2, 120], found[2, 80]) == (b"Hello", b"Jos\xc3")
    assert lost == ()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_comments_are_kept_or_reported(tmp_path: Path, suffix: str) -> None:
    source, target, back = tmp_path / "a.jpg", tmp_path / f"b{suffix}", tmp_path / "c.jpg"
    comments = ("Größe".encode("latin-1"), "山".encode())
    picture().save(source, extra=b"".join(segment(0xFE, text) for text in comments))
    lost = copied(source, target)
    if suffix not in (".jpg", ".png"):
        assert lost == (f"the comment in the file is left out: {suffix} files hold none",)
        return
    assert lost == copied(target, back) == ()
    found = read_extras(back).comments
    assert found == (comments if suffix == ".jpg" else ("Größe\n山".encode(),))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_text_of_a_png_is_kept_or_reported(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "a.png", tmp_path / f"b{suffix}"
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "José")
    info.add_text("parameters", "p" * 100_000, zip=True)
    info.add_itxt("Title", "山", "ja", "題")
    picture().save(source, pnginfo=info)
    data = source.read_bytes()
    source.write_bytes(data[:-12] + chunk(b"tEXt", b"Date\0today") + data[-12:])  # Behind the pixels.
    lost = copied(source, target)
    if suffix != ".png":
        assert lost == (f"text in the file (Author, Title, parameters) is left out: {suffix} files hold none",)
        (whole,) = read_extras(source).fitted(suffix)[1]
        assert "Author, Date, Title, parameters" in whole
        return
    texts = {text.name: text for text in read_extras(target).texts}
    assert (texts["Author"].value, texts["Date"].value, len(texts["parameters"].value)) == ("José", "today", 100_000)
    assert (texts["Title"].value, texts["Title"].language, texts["Title"].translated) == ("山", "ja", "題")


@pytest.mark.parametrize("place", ["attribute", "element"])
def test_of_long_xmp_the_long_property_alone_is_left_out_of_a_jpeg(tmp_path: Path, place: str) -> None:
    source, target = tmp_path / "a.webp", tmp_path / "b.jpg"
    values = {"attribute": "", "element": ""} | {place: "m" * 70_000}
    picture().save(source, xmp=XMP.format(**values).encode())
    name = {"attribute": "crs:Tone", "element": "crs:Masks"}[place]
    assert copied(source, target) == (f"{name} of the XMP is left out: .jpg files hold at most 64 kB of it",)
    with Image.open(target) as image:
        found = image.info["xmp"]
    (description,) = ElementTree.fromstring(found).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert "".join(description.itertext()).strip() == "José"
    assert b"mmm" not in found


def test_what_xmp_says_of_the_old_file_goes(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.webp", xmp=XMP.format(attribute="t", element="m").encode())
    found = read_extras(tmp_path / "a.webp").xmp
    assert found is not None and ElementTree.fromstring(found) is not None
    for gone in (b"old picture", b"4000", b"Adobe RGB"):
        assert gone not in found
    assert b'crs:Tone="t"' in found and b'ICCProfile="sRGB' in found


NAMESPACES = b"".join(
    b' xmlns:n%d="%s"' % (index, uri)
    for index, uri in enumerate(
        (b"http://ns.adobe.com/xap/1.0/", b"http://ns.adobe.com/tiff/1.0/", b"http://ns.google.com/photos/1.0/image/")
    )
)


@pytest.mark.parametrize(
    ("filling", "left"),
    [
        (b" " * 4_000_000, b" " * 4_000_000),
        (b"<n0:Thumbnails>a</n0:Thumbnails>" * 50_000, b""),
        (b"<n0:Thumbnails>" * 50_000 + b"</n0:Thumbnails>" * 50_000, b""),
        (b"<n1:a" + b" " * 4_000_000 + b"n2:Data='>'/>", b"<n1:a/>"),
        (b"<n1:a>" * 50_000 + b"</n1:a>" * 50_000, b"<n1:a>" * 50_000 + b"</n1:a>" * 50_000),
    ],
    ids=["space", "side by side", "inside one another", "space in a tag", "deep"],
)
def test_xmp_is_cleaned_in_one_pass(filling: bytes, left: bytes) -> None:
    """A search from each of these places to the end would take hours."""
    begin, end = b"<x:xmpmeta" + NAMESPACES[: NAMESPACES.index(b" xmlns:n2")], b"</x:xmpmeta>"
    given = begin + NAMESPACES[NAMESPACES.index(b" xmlns:n2") :] + b">" + filling + end
    assert of_painting(given) == begin + b">" + left + end


@pytest.mark.parametrize(
    "given",
    [
        b"<x:xmpmeta><a></x:xmpmeta>",
        b'<!DOCTYPE a [<!ENTITY b "lol">]><a>&b;</a>',
        b"<a>" + b"<b/>" * 300_000 + b"</a>",
        b"<a>" + b" " * (1 << 24) + b"</a>",
    ],
    ids=["not closed", "entities", "too many names", "too long"],
)
def test_xmp_that_is_not_read_is_reported(tmp_path: Path, given: bytes) -> None:
    picture().save(tmp_path / "a.webp", xmp=given)
    assert read_extras(tmp_path / "a.webp").xmp is None
    assert image_facts(tmp_path / "a.webp").metadata_not_kept == (
        "the XMP is left out: it is damaged, or far too long",
    )


def test_the_painting_is_upright_by_xmp_in_every_way_to_write_it() -> None:
    given = b"""<x:xmpmeta xmlns:t="http://ns.adobe.com/tiff/1.0/">
 <rdf:Description t:Orientation = "6" t:Make='b &amp; c'>
 <t:Orientation>\n 8 </t:Orientation><tiff:Orientation>3</tiff:Orientation></rdf:Description></x:xmpmeta>"""
    assert of_painting(given) == given.replace(b'"6"', b'"1"').replace(b">\n 8 <", b">1<").replace(b">3<", b">1<")


def test_xmp_of_a_painting_announces_no_gain_map(tmp_path: Path) -> None:
    """A painting may be painted again."""
    given = b'<x:xmpmeta xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/"><a h:Version="1.0" b="c"/></x:xmpmeta>'
    picture().save(tmp_path / "a.webp", xmp=given)
    copied(tmp_path / "a.webp", tmp_path / "b.webp")
    assert read_extras(tmp_path / "b.webp").xmp == b'<x:xmpmeta><a b="c"/></x:xmpmeta>'
    assert image_facts(tmp_path / "b.webp").not_kept == ()


def test_metadata_that_is_stripped_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("read")

    Image.new("LA", (64, 48), (90, 30)).save(tmp_path / "a.png")
    for module, name in ((image_metadata, "metadata_of"), (images, "metadata_of"), (images, "unkept_metadata")):
        monkeypatch.setattr(module, name, fail)
    extras = read_extras(tmp_path / "a.png", strip=True)
    assert extras.alpha is not None and (extras.alpha == 30).all()
    assert image_facts(tmp_path / "a.png", ".png", strip=True).not_kept == ()


@pytest.mark.parametrize("order", ["<", ">"])
def test_values_that_overlap_do_not_grow(tmp_path: Path, order: Literal["<", ">"]) -> None:
    """Two thousand tags may point to the same bytes, in each directory."""
    count, long = 1000, 30_000
    tags = [Tag(EXIF_IFD, 4, 1, b""), Tag(GPS_IFD, 4, 1, b""), *(Tag(40_000 + i, 2, long, b"") for i in range(count))]
    sizes = [2 + 12 * len(tags) + 4] * 3
    starts = [8, 8 + sizes[0], 8 + sizes[0] + sizes[1]]
    data = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    for _ in starts:
        data += struct.pack(f"{order}H", len(tags))
        for tag in sorted(tags, key=lambda tag: tag.number):
            place = {EXIF_IFD: starts[1], GPS_IFD: starts[2]}.get(tag.number, 8 + sum(sizes))
            data += struct.pack(f"{order}HHII", tag.number, tag.kind, tag.count, place)
        data += bytes(4)
    data += b"A" * long
    picture().save(tmp_path / "a.png", exif=PREFIX + data)
    kept = read_extras(tmp_path / "a.png").exif
    assert kept is not None and long < len(kept) <= len(data)
    assert image_facts(tmp_path / "a.png").metadata_not_kept == ("damaged parts of the EXIF are left out (2998)",)


def test_photoshop_data_without_iptc_are_not_called_that(tmp_path: Path) -> None:
    path, data, info = tmp_path / "a.png", resource(0x040A, b"\1"), PngImagePlugin.PngInfo()
    info.add_text("Raw profile type 8bim", f"\n8bim\n{len(data):8}\n{data.hex()}\n")
    picture().save(path, pnginfo=info)
    assert copied(path, tmp_path / "b.jpg") == ("Photoshop data are left out",)
    assert read_extras(path).iptc is None


def test_exif_behind_the_pixels_of_a_png_is_read_before_painting(tmp_path: Path) -> None:
    path, tree = tmp_path / "a.png", TagTree("<", [Tag(315, 2, 2, b"A\0")])
    tree.inner[EXIF_IFD] = [Tag(0x927C, 7, 6, b"note\0\0")]
    picture().save(path)
    data = path.read_bytes()
    path.write_bytes(data[:-12] + chunk(b"eXIf", tree.to_bytes()) + data[-12:])
    assert copied(path, tmp_path / "b.png") == ("the maker's note of the camera is left out",)
    assert saved_tags(tmp_path / "b.png") == {315: b"A\0"}


def test_texts_of_a_png_that_repeat_nothing_are_kept(tmp_path: Path) -> None:
    """Programs write EXIF as texts too. Of two texts of one name a reader gives the last."""
    info = PngImagePlugin.PngInfo()
    for name, value in (("exif:Artist", "A"), ("Raw profile type mine", "b"), ("Title", "old"), ("Title", "new")):
        info.add_text(name, value)
    info.add_text("png:IHDR.bit_depth", "8")
    picture().save(tmp_path / "a.png", pnginfo=info)
    assert copied(tmp_path / "a.png", tmp_path / "b.png") == ("of texts of one name (Title) the last alone is kept",)
    kept = {text.name: text.value for text in read_extras(tmp_path / "b.png").texts}
    assert kept == {"exif:Artist": "A", "Raw profile type mine": "b", "Title": "new"}
    exif = Image.Exif()
    exif[315] = "A"
    picture().save(tmp_path / "c.png", pnginfo=info, exif=exif)
    assert "exif:Artist" not in {text.name for text in read_extras(tmp_path / "c.png").texts}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_xmp_and_iptc_among_the_tags_are_kept(tmp_path: Path, suffix: str) -> None:
    """They have a place in a TIFF, from which programs copy all tags."""
    data = XMP.format(attribute="t", element="m").encode()
    tree = TagTree("<", [Tag(700, 1, len(data), data), Tag(33723, 7, len(IPTC), IPTC)])
    picture().save(tmp_path / f"a{suffix}", exif=PREFIX + tree.to_bytes())
    assert copied(tmp_path / f"a{suffix}", tmp_path / "b.jpg") == ()
    found = read_extras(tmp_path / "b.jpg")
    assert found.xmp is not None and "José".encode() in found.xmp and b"old picture" not in found.xmp
    assert found.iptc == IPTC
    picture().save(tmp_path / "c.jpg", exif=PREFIX + tree.to_bytes(), xmp=b"<own/>")
    assert copied(tmp_path / "c.jpg", tmp_path / "d.jpg") == (
        "the XMP within the EXIF is left out: the file has other XMP, which is kept",
    )
    assert read_extras(tmp_path / "d.jpg").xmp == b"<own/>"


def saved_tags(path: Path) -> dict[int, bytes]:
    data = read_extras(path).exif or b""
    tree = tags_of_exif(data)
    return {tag.number: tag.value for tag in (*tree.tags, *tree.inner.get(EXIF_IFD, []))}


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png", ".webp"])
def test_every_tag_is_kept_or_reported(tmp_path: Path, suffix: str) -> None:
    """Tags of programs nobody here knows are kept too; but a number that may be an address would lead nowhere."""
    source, target = tmp_path / "a.jpg", tmp_path / f"b{suffix}"
    kept = [
        Tag(316, 2, 4, b"Mac\0"),
        Tag(337, 2, 3, b"HP\0"),
        Tag(50000, 7, 6, b"\1\2\3\4\5\6"),
        Tag(51000, 3, 1, b"\7\0"),
    ]
    layout = [Tag(274, 3, 1, b"\1\0"), Tag(256, 4, 1, b"\0\1\0\0"), Tag(531, 3, 1, b"\1\0")]
    tree = TagTree("<", [*kept, *layout, Tag(65024, 4, 1, b"\x40\0\0\0"), Tag(33550, 12, 3, bytes(24))])
    tree.inner[EXIF_IFD] = [Tag(42036, 2, 2, b"L\0")]
    picture().save(source, exif=PREFIX + tree.to_bytes())
    assert copied(source, target) == (
        "the georeference (GeoTIFF) is left out",
        "tag 65024 of the EXIF is left out: its value may be an address in the old file",
    )
    assert saved_tags(target) == {tag.number: tag.value for tag in kept} | {42036: b"L\0"}
    with Image.open(target) as image:
        assert image.getexif()[316] == "Mac"


def test_a_broken_directory_costs_no_other(tmp_path: Path) -> None:
    tree = TagTree("<", [Tag(315, 2, 2, b"A\0"), Tag(EXIF_IFD, 4, 1, b"\xff\xff\0\0")])
    picture().save(tmp_path / "a.png", exif=PREFIX + tree.to_bytes())
    assert saved_tags(tmp_path / "a.png") == {315: b"A\0"}
    assert image_facts(tmp_path / "a.png").metadata_not_kept == ("damaged parts of the EXIF are left out (1)",)


def test_the_exif_of_a_bigtiff_is_kept(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[270], tags[315] = "Größe".encode(), b"A"
    tags.get_ifd(EXIF_IFD)[42036] = "50 mm"
    tags[EXIF_IFD] = tags.get_ifd(EXIF_IFD)
    picture().save(tmp_path / "a.tif", exif=tags, big_tiff=True)
    assert copied(tmp_path / "a.tif", tmp_path / "b.tif") == ()
    found = saved_tags(tmp_path / "b.tif")
    assert (found[270], found[315], found[42036]) == ("Größe\0".encode(), b"A\0", b"50 mm\0")


def test_a_tiff_without_a_resolution_gets_none(tmp_path: Path) -> None:
    """Pillow calls that one dot an inch."""
    for unit, dpi in ((None, None), (1, None), (2, (300, 150)), (3, (762, 381))):
        given = {} if unit is None else {282: 300.0, 283: 150.0, 296: unit}
        picture().save(tmp_path / "a.tif", tiffinfo=given)
        copied(tmp_path / "a.tif", tmp_path / "b.tif")
        assert read_extras(tmp_path / "b.tif").dpi == (pytest.approx(dpi) if dpi else None)


def test_data_that_nothing_reads_are_reported(tmp_path: Path) -> None:
    extra = segment(0xEB, b"JP\0\1jumbf c2pa") + segment(0xEC, b"Ducky\0") + segment(0xE2, b"FPXR\0")
    picture().save(tmp_path / "a.jpg", extra=extra + segment(0xED, b"Photoshop 3.0\0" + resource(0x07D0, b"path")))
    assert image_facts(tmp_path / "a.jpg").metadata_not_kept == (
        "Photoshop data are left out",
        "data that are not read are left out: APP12, APP2, Content Credentials (C2PA)",
    )
    picture().save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    odd = chunk(b"pHYs", (4).to_bytes(4) + (3).to_bytes(4) + b"\0") + chunk(b"sTER", b"\0") + chunk(b"caBX", b"c2pa")
    (tmp_path / "a.png").write_bytes(data[:33] + odd + data[33:])
    assert image_facts(tmp_path / "a.png").metadata_not_kept == (
        "data that are not read are left out: Content Credentials (C2PA), sTER",
        "the pixels are painted as square: their shape (3:4) is left out",
    )
    picture().save(tmp_path / "a.webp")
    data = (tmp_path / "a.webp").read_bytes() + b"C2PA\3\0\0\0abc\0"
    (tmp_path / "a.webp").write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])
    (line,) = image_facts(tmp_path / "a.webp").metadata_not_kept
    assert line == "data that are not read are left out: Content Credentials (C2PA)"
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes() + b"film SEFT")
    assert "Samsung" in image_facts(tmp_path / "b.jpg").not_kept[0]


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".png"])
def test_a_dry_run_says_that_alpha_is_left_out(tmp_path: Path, style_file: Path, suffix: str) -> None:
    """Whether any of it is used only the pixels show; the line is true of both, and that of the job itself."""
    settings = load_settings("default", (*TINY, "size=none"))
    told = () if suffix == ".png" else (f"the alpha channel (transparency) is left out: {suffix} files hold none",)
    for opacity in (30, 255):
        Image.new("RGBA", (64, 48), (9, 9, 9, opacity)).save(tmp_path / "a.png")
        request = Request((tmp_path / "a.png",), (style_file,), tmp_path / f"{opacity}{suffix}", settings, strip=True)
        assert dry_run(request).not_kept == told
        assert stylize(request, executor_factory=unpainted).not_kept == told
    palette = picture().quantize(4)
    palette.save(tmp_path / "b.png", transparency=0)
    assert image_facts(tmp_path / "b.png", suffix).not_kept == told


def test_a_dry_run_says_what_the_format_cannot_hold(tmp_path: Path, style_file: Path) -> None:
    """The same lines, each once, as the job itself."""
    exif = Image.Exif()
    exif[315] = "A"
    picture().save(tmp_path / "a.jpg", exif=exif, comment=b"c")
    settings = load_settings("default", (*TINY, "size=none"))
    request = Request((tmp_path / "a.jpg",), (style_file,), tmp_path / "o.bmp", settings)
    told = {
        "the metadata is left out: .bmp files hold none",
        "the comment in the file is left out: .bmp files hold none",
    }
    assert set(dry_run(request).not_kept) == told
    done = stylize(request, executor_factory=unpainted)
    assert set(done.not_kept) == told and len(done.not_kept) == 2
