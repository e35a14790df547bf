"""What the paths of a command are together, and that nothing is painted onto what is read."""

import os
import subprocess
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from impasto.errors import ImpastoError, InputError, OutputError, UsageError
from impasto.media import images, timing, video_reader, video_writer
from impasto.media.content import ContentFile, ContentKind, Mode
from impasto.media.find_content import missing_numbers, require_outside, resolve_content
from impasto.media.frame_reader import FrameReader
from impasto.media.one_video_each import loop_over
from impasto.plan.film_scan import scan_film
from impasto.plan.request import FrameRange
from samples import scenes

NAMES = """
a.png b.JPG c.mp4 d.mp4 notes.txt noending photos/x2.png photos/x10.png photos/x1.png photos/readme.txt
photos/sub/x1.jpg photos/.hidden.png empty/readme.txt films/f.mp4
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Names only: what is in the files plays no part in what they are together."""
    for name in NAMES.split():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolve(content: str, output: str, mode: Mode = "auto") -> object:
    return resolve_content([Path(name) for name in content.split()], Path(output), mode)


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("content", "output", "mode", "kind", "targets"),
    [
        ("a.png", "o.png", "auto", ContentKind.IMAGE, "o.png"),
        ("a.png", "o.jpeg", "photos", ContentKind.IMAGE, "o.jpeg"),
        ("a.png", "out", "auto", ContentKind.PHOTOS, "a.png"),
        ("b.JPG", "out", "auto", ContentKind.PHOTOS, "b.JPG"),
        ("a.png b.JPG", "out", "auto", ContentKind.PHOTOS, "a.png b.JPG"),
        ("b.JPG a.png", "out", "auto", ContentKind.PHOTOS, "b.JPG a.png"),
        ("a.png photos", "out", "auto", ContentKind.PHOTOS, "a.png sub/x1.jpg x1.png x2.png x10.png"),
        ("photos", "out", "auto", ContentKind.PHOTOS, "sub/x1.jpg x1.png x2.png x10.png"),
        ("photos", "out", "photos", ContentKind.PHOTOS, "sub/x1.jpg x1.png x2.png x10.png"),
        ("photos/sub", "out", "sequence", ContentKind.SEQUENCE, "x1.png"),
        ("photos/sub", "o.mp4", "auto", ContentKind.SEQUENCE, "x1.png"),
        ("a.png b.JPG", "o.mkv", "auto", ContentKind.SEQUENCE, "a.png b.png"),
        ("a.png", "o.mp4", "sequence", ContentKind.SEQUENCE, "a.png"),
        ("a.png", "out", "sequence", ContentKind.SEQUENCE, "a.png"),
        ("c.mp4", "o.mp4", "auto", ContentKind.VIDEO, ""),
        ("c.mp4", "out", "auto", ContentKind.VIDEO, ""),
        ("c.mp4", "o.webm", "sequence", ContentKind.VIDEO, ""),
    ],
)
def test_what_paths_are_together(content: str, output: str, mode: Mode, kind: ContentKind, targets: str) -> None:
    result = resolve_content([Path(name) for name in content.split()], Path(output), mode)
    assert result.kind is kind
    assert result.is_film == (kind in (ContentKind.SEQUENCE, ContentKind.VIDEO))
    assert " ".join(file.target for file in result.files) == targets


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("content", "output", "mode", "error", "said"),
    [
        ("missing.png", "o.png", "auto", InputError, "missing.png does not exist"),
        ("a.png missing", "out", "auto", InputError, "missing does not exist"),
        ("empty", "out", "auto", InputError, "empty holds no image"),
        ("films", "out", "auto", InputError, "films holds no image"),
        ("notes.txt", "out", "auto", InputError, "notes.txt has the ending of neither"),
        ("noending", "out", "auto", InputError, "noending has the ending of neither"),
        ("a.png notes.txt", "out", "auto", InputError, "notes.txt has the ending of neither"),
        ("c.mp4 d.mp4", "o.mp4", "auto", UsageError, "run one command for each"),
        ("a.png c.mp4", "o.mp4", "auto", UsageError, "run one command for each"),
        ("c.mp4", "out", "photos", UsageError, "`mode='photos'`"),
        ("photos", "o.mp4", "photos", UsageError, "`mode='photos'`"),
        ("c.mp4", "o.png", "auto", OutputError, "o.png is an image"),
        ("photos", "o.png", "auto", OutputError, "o.png is one image"),
        ("a.png b.JPG", "o.png", "auto", OutputError, "o.png is one image"),
        ("a.png", "o.png", "sequence", OutputError, "o.png is one image"),
        ("a.png", "o.mp4", "auto", OutputError, "o.mp4 is a video"),
        ("a.png a.png", "out", "auto", InputError, "a.png"),
        ("photos photos", "out", "auto", InputError, "x1"),
        ("photos photos/sub/x1.jpg", "out", "sequence", InputError, "x1"),
    ],
)
def test_what_makes_no_sense(content: str, output: str, mode: Mode, error: type[ImpastoError], said: str) -> None:
    with pytest.raises(error) as caught:
        resolve(content, output, mode)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(("content", "skipped"), [("photos", 2), ("a.png", 0), ("photos empty", 3)])
def test_files_that_are_passed_over_are_counted(content: str, skipped: int) -> None:
    found = resolve_content([Path(name) for name in content.split()], Path("out"), "auto")
    assert sum(found.skipped.values()) == skipped


def test_names_that_would_be_painted_to_one(tree: Path) -> None:
    for name in ("case/A.png", "case/a.png", "png/x.jpg", "png/x.png"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).touch()
    resolve("png", "out")
    with pytest.raises(InputError, match=r"x\.png"):
        resolve("png", "out", "sequence")


def targets(*paths: Path, image_format: str | None = None) -> list[str]:
    return [file.target for file in resolve_content(paths, Path("out"), "auto", image_format).files]


def test_photos_with_one_name_are_painted_to_two(tmp_path: Path) -> None:
    for name in ("2019/a.jpg", "2019/a-2.jpg", "2020/a.jpg", "2020/A.JPG", "2020/b.png", "3/b.png/a.jpg", "3/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folders = [tmp_path / name for name in ("2019", "2020", "3")]
    content = resolve_content(folders, Path("out"), "auto")
    by_path = {file.path.relative_to(tmp_path).as_posix(): file.target for file in content.files}
    assert by_path["2019/a.jpg"] == "a.jpg" and by_path["2019/a-2.jpg"] == "a-2.jpg"
    # A folder of another photo has that name.
    assert by_path["2020/b.png"] == "b-2.png" and by_path["3/b.png/a.jpg"] == "b.png/a.jpg"
    assert {by_path["2020/a.jpg"].casefold(), by_path["2020/A.JPG"].casefold()} == {"a-3.jpg", "a-4.jpg"}
    assert len({name.casefold() for name in by_path.values()}) == len(by_path)
    names = [file.name for file in content.files]
    assert len(set(names)) == len(names) == len(content.fingerprint()), "the store tells them apart"
    assert len(content.renamed) == 3
    assert content == resolve_content(folders, Path("out"), "auto"), "a job that is resumed finds its files"


def test_letters_that_are_written_in_two_ways_are_one(tmp_path: Path) -> None:
    for name in ("a\u0308.png", "\u00e4.png"):
        (tmp_path / name).touch()
    assert len({unicodedata.normalize("NFC", name) for name in targets(tmp_path)}) == 2


@pytest.mark.parametrize("letter", ["x", "é", "絵"])
def test_names_as_long_as_a_disk_takes(tmp_path: Path, letter: str) -> None:
    stem = letter * ((255 - len(".jpeg")) // len(letter.encode()))
    for ending in (".jpeg", ".webp", ".png"):
        (tmp_path / f"{stem}{ending}").touch()
    for painted in (targets(tmp_path), targets(tmp_path, image_format="png"), targets(tmp_path, image_format="tiff")):
        assert len(set(painted)) == 3
        assert all(len(name.encode()) <= 255 and Path(name).stem.startswith(letter * 60) for name in painted)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/\xff" + b"y" * 248
    for ending in (b".jpg", b".png"):
        Path(os.fsdecode(raw + ending)).touch()
    painted = targets(tmp_path, image_format="tiff")
    assert len(set(painted)) == 2 and all(len(os.fsencode(name)) <= 255 for name in painted)


def test_no_other_photo_is_painted_over(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    paths = [tmp_path / "sub" / "a.png", tmp_path / "b.png", tmp_path / "a.png"]
    for path in paths:
        path.touch()
    content = resolve_content(paths[:2], tmp_path / "out", "auto")
    require_outside(content, paths[:2], tmp_path / "out")
    (tmp_path / "way").symlink_to(tmp_path, target_is_directory=True)
    for given in (paths, [paths[0], tmp_path / "a.png"]):
        for output in (tmp_path, tmp_path / "way", tmp_path / "sub" / ".."):
            content = resolve_content(given, output, "auto")
            with pytest.raises(OutputError, match="would overwrite"):
                require_outside(content, given, output)


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    for path in (photos / "a.png", photos / "sub" / "b.png", tmp_path / "secret.png"):
        path.touch()
    (photos / "inside.png").symlink_to("sub/b.png")
    (photos / "out.png").symlink_to("../secret.png")
    (photos / "far.png").symlink_to(photos / "back.png")
    (photos / "back.png").symlink_to(tmp_path / "secret.png")
    (photos / "round.png").symlink_to("round.png")
    content = resolve_content([photos], tmp_path / "out", "auto")
    assert [file.name for file in content.files] == ["a.png", "inside.png", "sub/b.png"]
    assert sum(content.skipped.values()) == 4
    (tmp_path / "link").symlink_to(photos, target_is_directory=True)
    assert len(resolve_content([tmp_path / "link"], tmp_path / "out", "auto").files) == 3, "what is named is followed"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("f1 f2 f3 f10", ["4 to 9 of f1.png … f10.png"]),
        ("f0001 f0002 f0004 f0005 f0007 f0008 f0009", ["3 and 6 of f0001.png … f0009.png"]),
        ("f2 f4 f6 f8 f12 f14", ["10 of f2.png … f14.png"]),
        ("f1 f2 f3 f4", []),
        ("f10 f20 f30 f40", []),
        ("a b c", []),
        ("f1", []),
        ("f3 f17 f900 f12000", []),
        ("a1 a2 a3 b1 b2 b3 b5", ["4 of b1.png … b5.png"]),
        ("x/1 x/2 x/3 y/8 y/9 y/10", []),
        ("f1 f3 f5 f6 f7 f9 f10 f11 f12 f14 f15 f16 f18 f19 f20 f22 f23 f24 f26 f27 f28 f30 f31 f32", 1),
    ],
)
def test_gaps_in_a_sequence_are_found(names: str, told: list[str] | int) -> None:
    files = [ContentFile(Path(f"{name}.png"), f"{name}.png", f"{name}.png") for name in names.split()]
    found = missing_numbers(files)
    if isinstance(told, int):
        assert len(found) == told and "more stretches of f1.png" in found[0]
    else:
        assert found == told


@pytest.mark.parametrize(
    ("content", "output", "mode"),
    [
        ("photos", "photos", "auto"),
        ("photos", "photos/out", "auto"),
        ("photos", "photos/sub", "auto"),
        ("photos", "out/../photos/new", "auto"),
        ("photos", "photos/o.mp4", "auto"),
        ("a.png", "a.png", "auto"),
        ("a.png", "./photos/../a.png", "auto"),
        ("c.mp4", "c.mp4", "auto"),
        ("a.png", ".", "auto"),
        ("a.png b.JPG", ".", "auto"),
        ("photos/x1.png photos/x2.png", "photos", "sequence"),
        ("photos", "link/out", "auto"),
        ("a.png", "linked.png", "auto"),
    ],
)
def test_nothing_is_painted_onto_what_is_read(tree: Path, content: str, output: str, mode: Mode) -> None:
    (tree / "link").symlink_to("photos", target_is_directory=True)
    (tree / "linked.png").symlink_to("a.png")
    paths = [Path(name) for name in content.split()]
    with pytest.raises(OutputError):
        require_outside(resolve_content(paths, Path(output), mode), paths, Path(output))


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("content", "output"), [("photos", "photos2"), ("photos/sub", "photos"), ("c.mp4", "c"), ("a.png", "photos")]
)
def test_outputs_that_are_outside(content: str, output: str) -> None:
    require_outside(resolve_content([Path(content)], Path(output), "auto"), [Path(content)], Path(output))


def test_hashes_tell_contents_apart(tree: Path) -> None:
    (tree / "photos" / "x1.png").write_bytes(b"one")
    before = resolve_content([Path("photos")], Path("out"), "auto").fingerprint()
    assert list(before) == ["sub/x1.jpg", "x1.png", "x2.png", "x10.png"]
    (tree / "photos" / "x1.png").write_bytes(b"two")
    after = resolve_content([Path("photos")], Path("out"), "auto").fingerprint()
    assert [name for name in before if before[name] != after[name]] == ["x1.png"]
    (tree / "photos" / "x1.png").unlink()
    (tree / "photos" / "x1.png").symlink_to("nowhere")
    assert resolve_content([Path("photos")], Path("out"), "auto").fingerprint().get("x1.png") in (None, "unreadable")


# Reading


def write_frames(folder: Path, frames: Sequence[np.ndarray]) -> list[Path]:
    paths = [folder / f"f{index}.png" for index in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        images.write_image(path, frame)
    return paths


@pytest.fixture
def footage() -> list[np.ndarray]:
    scene = scenes.cut((48, 64), 12, 3)
    return [scene.frame(t) for t in range(12)]


def test_a_sequence_is_scanned(tmp_path: Path, footage: list[np.ndarray]) -> None:
    write_frames(tmp_path / "in", footage)
    content = resolve_content([tmp_path / "in"], tmp_path / "o.mp4", "auto")
    seen: list[tuple[int, int | None]] = []
    scan = scan_film(content, FrameRange().clip, None, Fraction(30000, 1001), lambda *read: seen.append(read))
    assert scan.size == (48, 64)
    assert [(shot.start, shot.stop) for shot in scan.shots] == [(0, 6), (6, 12)]
    assert scan.timing == timing.Timing.constant(Fraction(30000, 1001), 12)
    assert (scan.first, scan.is_partial, scan.damage) == (0, False, None)
    assert seen == [(index + 1, 12) for index in range(12)]
    part = scan_film(content, FrameRange(4, 7).clip, None, None, lambda *_: None)
    assert [(shot.start, shot.stop) for shot in part.shots] == [(4, 6), (6, 7)]
    assert (part.first, part.is_partial, part.timing.frame_count) == (4, True, 3)
    whole = scan_film(content, FrameRange().clip, (), None, lambda *_: None)
    assert [(shot.start, shot.stop) for shot in whole.shots] == [(0, 12)]
    given = scan_film(content, FrameRange(2, None).clip, (1, 4, 9, 12, 40), None, lambda *_: None)
    assert [(shot.start, shot.stop) for shot in given.shots] == [(2, 4), (4, 9), (9, 12)]
    with pytest.raises(InputError, match="none of the 12"):
        scan_film(content, FrameRange(12, 20).clip, None, None, lambda *_: None)


def test_frames_of_a_sequence_have_one_size(tmp_path: Path, footage: list[np.ndarray]) -> None:
    write_frames(tmp_path / "in", [footage[0], footage[1][:, :60]])
    content = resolve_content([tmp_path / "in"], tmp_path / "out", "sequence")
    with pytest.raises(InputError, match=r"f1\.png is 60×48 .* 64×48"):
        scan_film(content, FrameRange().clip, None, None, lambda *_: None)


def test_frames_of_a_video_are_read_in_any_order(tmp_path: Path, footage: list[np.ndarray]) -> None:
    path = tmp_path / "in.mkv"
    with video_writer.VideoWriter(path, (48, 64), timing.Timing.constant(25, 12)) as writer:
        for frame in footage:
            writer.write(frame)
    truth = [frame.image for frame in video_reader.read_frames(path)]
    content = resolve_content([path], tmp_path / "o.mp4", "auto")
    with FrameReader(content) as reader:
        for index in (0, 1, 5, 5, 2, 11, 0):
            np.testing.assert_array_equal(reader.read(index)[0], truth[index])
        with pytest.raises(InputError):
            reader.read(12)


@pytest.mark.parametrize(
    ("image_format", "targets"),
    [
        (None, ["a.JPG", "a.png", "b.jpg", "c/d.tif"]),
        ("png", ["a.JPG.png", "a.png", "b.png", "c/d.png"]),
        ("jpg", ["a.JPG", "a.png.jpg", "b.jpg", "c/d.jpg"]),
        ("tiff", ["a.JPG.tif", "a.png.tif", "b.tif", "c/d.tif"]),
    ],
)
def test_photos_keep_their_format_or_get_another(tmp_path: Path, image_format: str | None, targets: list[str]) -> None:
    """HEIC becomes JPEG; two that would get one name keep their old ending before the new one."""
    for name in ("a.JPG", "a.png", "b.heic", "c/d.tif"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    content = resolve_content([tmp_path / "in"], tmp_path / "out", "auto", image_format)
    assert sorted(file.target for file in content.files) == targets


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    ("videos", "output", "made"),
    [
        (["a b.mp4", "-c.mov", 'it\'s "$HOME".mkv'], "o.webm", ["o-a b.webm", "o--c.webm", 'o-it\'s "$HOME".webm']),
        (["a b.mp4", "sub/c.d.mp4"], "my films", ["my films/a b", "my films/c.d"]),
        (["a.mp4", "sub/A.mov"], "o.mp4", ["o-1-a.mp4", "o-2-A.mp4"]),
        (["a.mp4", "sub/a.mp4"], "out", ["out/1-a", "out/2-a"]),
    ],
)
def test_the_loop_over_several_videos_can_be_pasted(
    videos: list[str], output: str, made: list[str], shell: str
) -> None:
    """A shell runs it, with a function in place of the command that says what it was given."""
    loop = loop_over([Path(video) for video in videos], [Path("my style.png")], Path(output))
    run = [shell, "-c", f"impasto() {{ for word; do printf '%s\\n' \"$word\"; done; }}; {loop}"]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()
    given = [f"./{video}" if video.startswith("-") else video for video in videos]
    calls = [
        ["stylize", video, "--style", "my style.png", "--output", to] for video, to in zip(given, made, strict=True)
    ]
    assert said == [word for call in calls for word in call]


@pytest.mark.usefixtures("tree")
def test_videos_that_are_no_content_together_say_how() -> None:
    for content, said in (
        ("films", loop_over([Path("films/f.mp4")], [Path("s.png")], Path("out"))),
        ("c.mp4 a.png d.mp4", loop_over([Path("c.mp4"), Path("d.mp4")], [Path("s.png")], Path("out"))),
        ("c.mp4 a.png d.mp4", "; impasto stylize a.png --style s.png --output out"),
    ):
        with pytest.raises(UsageError) as caught:
            resolve_content([Path(name) for name in content.split()], Path("out"), "auto", styles=[Path("s.png")])
        assert said in str(caught.value)
